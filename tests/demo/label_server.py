"""A hosted model in miniature: files messages rightly only when its instruction tells it how."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTRUCTION = "The label is the order number or NEW, a dash, and the last name in capitals."


def reply_to(messages):
    """What the model says to a chat: a new instruction, or a label."""
    prompt = messages[-1]["content"]
    if "<new_text>" in prompt:
        return f"<new_text>\n{INSTRUCTION}\n</new_text>"
    label = "no idea"
    if INSTRUCTION in messages[0]["content"]:
        text = prompt.split("\n\nRespond")[0]
        order = re.search(r"\d{5}", text)
        last_word = re.findall(r"[A-Za-z]+", text)[-1]
        label = f"{order.group() if order else 'NEW'}-{last_word.upper()}"
    return f"[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]"


@contextmanager
def label_server(status=200):
    """The address of a server that is up inside the block and answers with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            chat = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            message = {"role": "assistant", "content": reply_to(chat["messages"])}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "small",
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
            if status != 200:
                body = {"error": {"message": "refused", "code": "invalid_api_key"}}
            written = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *_):
            """Nothing: the test's output is not the place."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
