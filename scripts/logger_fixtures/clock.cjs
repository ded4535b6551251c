// A clock for the loggers that only advances with tick(), by 1125 ms.
"use strict";

const RealDate = Date;
const STEP_MS = 1125;
let now = RealDate.UTC(2026, 2, 9, 12, 0, 0, 125) - STEP_MS;

globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [now] : args));
  }

  static now() {
    return now;
  }
};

exports.tick = () => {
  now += STEP_MS;
};
