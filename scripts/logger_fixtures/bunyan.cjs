// Lines of bunyan: every level, child loggers, errors, requests and the source position.
"use strict";

const { tick } = require("./clock.cjs");
const bunyan = require("bunyan");

const logTo = (options = {}) => bunyan.createLogger({ name: "shop", level: "trace", ...options });
const log = (logger, level, ...args) => {
  tick();
  logger[level](...args);
};

const plain = logTo();
for (const level of ["trace", "debug", "info", "warn", "error", "fatal"]) {
  log(plain, level, `a line at ${level}`);
}
log(plain, "info", { orderId: "ORD-000001" }, "order %s placed", "by tenant-007");
log(plain, "info", { orderId: "ORD-000002" });
log(plain, "error", new Error("card declined"));
log(plain, "error", { err: new TypeError("no such card") }, "charge failed");
log(plain.child({ req_id: "req-1", component: "billing" }), "info", "from a child");
log(plain.child({ req_id: "req-2" }, true), "warn", "from a simple child");
log(plain, "info", { level: 35 }, "a level of its own");

const http = logTo({ serializers: bunyan.stdSerializers });
const request = { method: "GET", url: "/api/orders", headers: { host: "shop" }, connection: {} };
log(http, "info", { req: request }, "request received");
log(http, "error", { err: new TypeError("no such order") }, "refund failed");
log(logTo({ src: true }), "debug", "with its source");
