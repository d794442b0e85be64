"""RewardAnything's client: one judgement and a batch of them."""

import importlib.machinery
import importlib.util
import sys
from dataclasses import asdict

from command_line import asked, tell

# The package's front door imports torch for its local models; its client, which needs none, is entered by the side.
package = importlib.machinery.PathFinder.find_spec("rewardanything")
sys.modules["rewardanything"] = importlib.util.module_from_spec(package)

from rewardanything.client import Client  # noqa: E402 - after the package is in place

url, case = asked()
client = Client(url)
judged = {"principle": case["principle"], "prompt": case["prompt"], "responses": case["responses"]}
swapped = {**judged, "responses": dict(reversed(case["responses"].items()))}
tell(
    {
        "healthy": client.health_check(),
        "single": asdict(client.judge(**judged)),
        "batch": [asdict(result) for result in client.judge_batch([judged, swapped])],
    }
)
