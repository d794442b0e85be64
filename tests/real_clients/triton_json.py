"""Triton's HTTP client, its tensors as JSON."""

import numpy as np
import tritonclient.http as triton
from command_line import asked, tell

url, case = asked()
client = triton.InferenceServerClient(url.removeprefix("http://"))
texts = np.array([[text.encode()] for text in case["texts"]], dtype=np.object_)
sentences = triton.InferInput("sentences", list(texts.shape), "BYTES")
sentences.set_data_from_numpy(texts, binary_data=False)
rewards = triton.InferRequestedOutput("rewards", binary_data=False)
answer = client.infer(case["model"], [sentences], outputs=[rewards], request_id="one")
try:
    refusal = client.infer("no-such-model", [sentences], outputs=[rewards])
except triton.InferenceServerException as error:
    refusal = error.message()
tell(
    {
        "refusal": refusal,
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(case["model"]),
        "unknown_ready": client.is_model_ready("no-such-model"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(case["model"]),
        "shape": answer.as_numpy("rewards").shape,
        "rewards": answer.as_numpy("rewards").flatten().tolist(),
        "id": answer.get_response()["id"],
    }
)
client.close()
