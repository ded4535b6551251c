// A pino transport that posts records to MikroScope, in batches. pino runs it in a worker thread.
//
// While the server is unreachable, up to `maxRecords` records wait. Beyond that the transport drops the
// oldest, and a record with the event `logs.dropped` reports how many. At the end of the process it keeps
// sending for `closeMs`. If a response is lost, it sends the batch again, so records may be stored twice.

import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import build from 'pino-abstract-transport'

const LONGEST_PAUSE_MS = 30_000

export default function mikroscope (options) {
  const { url, token, batchRecords = 500, maxRecords = 20_000, lingerMs = 200, closeMs = 5_000 } = options
  const endpoint = new URL('/api/ingest', url)
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
  const closing = new AbortController()
  let waiting = []
  let dropped = 0
  let deadline = Infinity
  let wake = () => {}

  const pause = (ms) => sleep(ms, undefined, { signal: closing.signal }).catch(() => {})
  const sender = sendAll()

  return build(collect, { close })

  async function collect (source) {
    for await (const record of source) {
      waiting.push(record)
      wake()
      if (waiting.length > maxRecords) dropped += waiting.splice(0, waiting.length - maxRecords).length
    }
  }

  async function close () {
    deadline = Date.now() + closeMs
    closing.abort()
    wake()
    await sender
    const lost = dropped + waiting.length
    if (lost > 0) writeSync(2, `mikroscope-transport: ${lost} log records are lost\n`)
  }

  async function sendAll () {
    while (Date.now() < deadline) {
      if (waiting.length > 0) {
        if (waiting.length < batchRecords) await pause(lingerMs)
        await send(waiting.splice(0, batchRecords))
      } else if (closing.signal.aborted) {
        return
      } else {
        await new Promise((resolve) => { wake = resolve })
      }
    }
  }

  async function send (batch) {
    const reported = dropped
    if (reported > 0) batch = [droppedRecord(reported), ...batch]
    for (let tries = 0; Date.now() < deadline; tries++) {
      const status = await post(batch)
      if (status >= 200 && status < 300) {
        dropped -= reported
        return
      }
      if (status === 400 || status === 413) return splitAndSend(batch, reported)
      if (closing.signal.aborted) await sleep(100)
      else await pause(Math.min(LONGEST_PAUSE_MS, 250 * 2 ** tries) * (0.5 + Math.random() / 2))
    }
    dropped += batch.length - (reported > 0 ? 1 : 0)
  }

  // The server refuses the batch for at least one of its records; send the others without it.
  async function splitAndSend (batch, reported) {
    if (reported > 0) batch = batch.slice(1)
    if (batch.length <= 1) {
      dropped += batch.length
      return
    }
    const middle = batch.length >> 1
    await send(batch.slice(0, middle))
    await send(batch.slice(middle))
  }

  async function post (batch) {
    try {
      const answer = await fetch(endpoint, {
        method: 'POST', headers, body: JSON.stringify(batch), signal: AbortSignal.timeout(10_000)
      })
      await answer.body?.cancel()
      return answer.status
    } catch {
      return 0
    }
  }
}

function droppedRecord (count) {
  const msg = `log records lost before they could be sent: ${count}`
  return { level: 40, time: Date.now(), event: 'logs.dropped', dropped: count, msg }
}
