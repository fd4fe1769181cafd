"""Programs that the peers run: started as files, with a peer's own Python."""

LLAMA = """
import signal, sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
params.model_alias = {"smollm2"}
params.n_ctx, params.n_parallel, params.verbosity = 4096, 2, 0
params.cpuparams.n_threads = 1
params.sampling.temp = 0
server = xllamacpp.Server(params)
signal.pause()
"""
"""llama.cpp's server with the built-in weights."""

LANGSERVE = """
import sys
import uvicorn
from fastapi import FastAPI
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langserve import add_routes

app = FastAPI()
place = {"base_url": sys.argv[1], "api_key": "none", "model": "smollm2"}
chat = ChatOpenAI(**place, temperature=0, max_tokens=40, stream_usage=True)
asking = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "Tell me one sentence about {topic}.")])
add_routes(app, chat, path="/chat")
add_routes(app, asking | chat | StrOutputParser(), path="/chain")
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""
"""A chat model and a chain."""

LITELLM = """
model_list:
  - model_name: small
    litellm_params: {model: openai/smollm2, api_base: "%s", api_key: none}
general_settings: {master_key: sk-peer-0123456789}
"""
"""The proxy's configuration; the place is for the model's address."""

CONVERT = """
import os, sys
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, file = os.path.split(sys.argv[1])
AutoModelForCausalLM.from_pretrained(folder, gguf_file=file).save_pretrained(sys.argv[2], safe_serialization=True)
AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(sys.argv[2])
"""
"""A GGUF file as a folder with safetensors."""

XINFERENCE = {
    "version": 2,
    "model_name": "small",
    "model_family": "small",
    "model_description": "the built-in weights",
    "model_lang": ["en"],
    "model_ability": ["chat", "generate"],
    "context_length": 2048,
    "is_builtin": False,
    "stop": ["<|im_end|>"],
    "stop_token_ids": [2],
    "chat_template": (
        "{% for m in messages %}<|im_start|>{{m['role']}}\n{{m['content']}}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n"
    ),
    "model_specs": [
        {
            "model_format": "ggufv2",
            "model_size_in_billions": 1,
            "quantization": "Q4_1",
            "quantizations": ["Q4_1"],
            "model_id": None,
        }
    ],
}
"""How a model is made known to Xinference; the spec's file is added."""
