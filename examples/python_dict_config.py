"""Configure MikroScope's handler with logging.config.dictConfig, as Django and others do.

MIKROSCOPE_URL=http://127.0.0.1:4310 MIKROSCOPE_TOKEN=backend-token python python_dict_config.py
"""

import logging.config
import os

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "sidecar": {
            "class": "mikroscope.logging.MikroScopeHandler",
            "level": "INFO",
            "url": os.environ.get("MIKROSCOPE_URL", "http://127.0.0.1:4310"),
            "token": os.environ.get("MIKROSCOPE_TOKEN", "backend-token"),
            "fields": {"service": "shop"},
        },
    },
    "root": {"handlers": ["sidecar"], "level": "INFO"},
}

logging.config.dictConfig(LOGGING)
logging.getLogger("shop").warning("Stock is low", extra={"event": "stock.low", "sku": "A-7"})
