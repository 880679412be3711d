"""An example of docs/examples, whose relays wait 1 s for a reader, and not 60 s."""

import importlib
import os
import sys
from typing import Any

from openrouter_async.relay import Relay

defaults: Any = Relay.__init__.__kwdefaults__
defaults["reader_timeout"] = 1.0
example: Any = importlib.import_module(os.environ["EXAMPLE"])

if __name__ == "__main__":
    example.web.run_app(example.make_app(), host="127.0.0.1", port=int(sys.argv[1]))
else:
    app = example.app
