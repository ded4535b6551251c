// Write NDJSON with pino into the directory that MikroScope reads.
//
//     npm install
//     MIKROSCOPE_LOGS_PATH=./logs node pino-file.js
//
// No record is lost while MikroScope is down: it reads the file when it starts again.

import { join } from 'node:path'
import pino from 'pino'

const destination = join(process.env.MIKROSCOPE_LOGS_PATH ?? './logs', 'shop-node', 'app.ndjson')
const logger = pino(
  { base: { service: 'shop' } },
  pino.transport({ target: 'pino/file', options: { destination, mkdir: true } })
)

logger.info({ event: 'order.created', orderId: 'ORD-123' }, 'Order created')
logger.error({ err: new Error('the bank did not answer'), orderId: 'ORD-123' }, 'Payment failed')
