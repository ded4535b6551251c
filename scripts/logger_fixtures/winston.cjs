// Lines of winston: its npm and syslog levels, with and without time, errors, child loggers.
"use strict";

const { tick } = require("./clock.cjs");
const winston = require("winston");

const { combine, errors, json, splat, timestamp } = winston.format;
const logTo = (format, options = {}) =>
  winston.createLogger({
    level: "silly",
    format,
    transports: [new winston.transports.Console()],
    ...options,
  });
const log = (logger, level, ...args) => {
  tick();
  logger[level](...args);
};
const NPM_LEVELS = ["error", "warn", "info", "http", "verbose", "debug", "silly"];
const SYSLOG_LEVELS = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

const bare = logTo(json());
for (const level of NPM_LEVELS) log(bare, level, `a line at ${level}`);
log(bare, "info", "with fields", { orderId: "ORD-000001", tenantId: "tenant-007" });

const timed = logTo(combine(timestamp(), json()));
for (const level of NPM_LEVELS) log(timed, level, `timed line at ${level}`);
log(timed.child({ requestId: "req-1" }), "info", "from a child");
log(timed, "error", "charge failed:", new Error("card declined"));
log(timed, "info", { message: { order: "ORD-000002", items: [1, 2] } });

const full = logTo(combine(errors({ stack: true }), timestamp(), splat(), json()), {
  defaultMeta: { service: "billing" },
});
log(full, "error", new Error("no such card"));
log(full, "info", "order %s has %d items", "ORD-000003", 3);

const local = logTo(combine(timestamp({ format: "YYYY-MM-DD HH:mm:ss.SSS" }), json()));
log(local, "info", "time without a zone");
const renamed = logTo(combine(timestamp({ alias: "@timestamp" }), json()));
log(renamed, "info", "time under two names");

const syslog = logTo(combine(timestamp(), json()), {
  level: "debug",
  levels: winston.config.syslog.levels,
});
for (const level of SYSLOG_LEVELS) log(syslog, level, `syslog line at ${level}`);
