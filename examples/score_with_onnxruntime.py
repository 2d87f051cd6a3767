"""Scores without jaxad or JAX: python score_with_onnxruntime.py scorer.onnx EVENTS.npy"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
contract = session.get_modelmeta().custom_metadata_map
events = np.load(sys.argv[2]).astype(np.float32)  # (n, *shape) in the contract's "input"
for score, fpr, flag in session.run(["packed"], {"raw": events})[0]:
    print(f"{score:.6g} {fpr:.3g} {'keep' if flag else 'drop'}")
print(f"threshold {contract['threshold']}, input {json.loads(contract['input'])['order']}")
