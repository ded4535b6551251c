// Lines of pino: every level, child loggers, errors, and the options people use most.
"use strict";

const { tick } = require("./clock.cjs");
const pino = require("pino");

const logTo = (options) => pino(options, pino.destination({ fd: 1, sync: true }));
const log = (logger, level, ...args) => {
  tick();
  logger[level](...args);
};
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];

const plain = logTo({ level: "trace" });
for (const level of LEVELS) log(plain, level, `a line at ${level}`);
log(plain, "info", { orderId: "ORD-000001", items: 3 }, "order %s placed", "by tenant-007");
log(plain, "info", { orderId: "ORD-000002" });
log(plain, "error", new Error("card declined"));
log(plain, "error", { err: new TypeError("no such card") }, "charge failed");
log(plain, "error", { err: new Error("outer", { cause: new Error("inner") }) }, "with a cause");
log(plain.child({ reqId: "req-1", module: "billing" }), "info", "from a child");
log(plain.child({ reqId: "req-2" }).child({ step: 2 }), "warn", "from a grandchild");

const request = { id: "req-3", method: "GET", url: "/api/orders", headers: { host: "shop" } };
const http = logTo({ serializers: pino.stdSerializers });
const response = { statusCode: 200, headersSent: true, getHeaders: () => ({}) };
log(http, "info", { req: request, res: response }, "request completed");

const iso = logTo({ timestamp: pino.stdTimeFunctions.isoTime });
log(iso, "info", "time in ISO 8601");
const unix = logTo({ timestamp: pino.stdTimeFunctions.unixTime });
log(unix, "info", "time in seconds");
log(logTo({ timestamp: false }), "info", "no time");
log(logTo({ base: null }), "info", "no pid and no hostname");

const labels = logTo({
  level: "trace",
  formatters: { level: (label) => ({ level: label }) },
  timestamp: pino.stdTimeFunctions.isoTime,
});
for (const level of LEVELS) log(labels, level, `label ${level}`);

const custom = logTo({
  level: "chatter",
  customLevels: { chatter: 15, detail: 25, notice: 35, alarm: 55, doom: 70 },
});
for (const level of ["chatter", "detail", "notice", "alarm", "doom"]) {
  log(custom, level, `custom level ${level}`);
}

log(logTo({ messageKey: "message", errorKey: "error" }), "error", new Error("renamed keys"));
log(logTo({ name: "shop", nestedKey: "payload" }), "info", { sku: "A1" }, "payload is nested");
