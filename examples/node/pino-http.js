// Send pino's logs over HTTP, with the small transport next to this file.
//
//     npm install
//     MIKROSCOPE_URL=http://127.0.0.1:4310 MIKROSCOPE_TOKEN=backend-token node pino-http.js

import { fileURLToPath } from 'node:url'
import pino from 'pino'

const logger = pino(
  { base: { service: 'shop' } },
  pino.transport({
    target: fileURLToPath(new URL('./mikroscope-transport.js', import.meta.url)),
    options: {
      url: process.env.MIKROSCOPE_URL ?? 'http://127.0.0.1:4310',
      token: process.env.MIKROSCOPE_TOKEN ?? 'backend-token'
    }
  })
)

logger.info({ event: 'order.created', orderId: 'ORD-123' }, 'Order created')
logger.error({ err: new Error('the bank did not answer'), orderId: 'ORD-123' }, 'Payment failed')
