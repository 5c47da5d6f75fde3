"""Writes models/reference as a GGUF file of f16 matrices, with its own tokenizer."""
import json, sys, numpy as np, gguf
from pathlib import Path
from safetensors import safe_open
folder, out = Path(sys.argv[1]), sys.argv[2]
config = json.loads((folder / "config.json").read_text())
tok = json.loads((folder / "tokenizer.json").read_text())
w = gguf.GGUFWriter(out, "llama")
w.add_name("reference"); w.add_context_length(config["max_position_embeddings"])
w.add_embedding_length(config["hidden_size"]); w.add_block_count(config["num_hidden_layers"])
w.add_feed_forward_length(config["intermediate_size"]); w.add_head_count(config["num_attention_heads"])
w.add_head_count_kv(config["num_key_value_heads"]); w.add_layer_norm_rms_eps(config["rms_norm_eps"])
w.add_rope_freq_base(config["rope_theta"]); w.add_rope_dimension_count(config["head_dim"])
w.add_key_length(config["head_dim"]); w.add_value_length(config["head_dim"])
w.add_vocab_size(config["vocab_size"]); w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
vocab = dict(tok["model"]["vocab"]); special = {t["content"]: t["id"] for t in tok["added_tokens"]}; vocab.update(special)
names = [None] * config["vocab_size"]; types = [gguf.TokenType.UNUSED] * config["vocab_size"]
for text, i in vocab.items():
    names[i] = text; types[i] = gguf.TokenType.CONTROL if text in special else gguf.TokenType.NORMAL
names = [n if n is not None else f"[unused{i}]" for i, n in enumerate(names)]
w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre("gpt-2")
w.add_token_list(names); w.add_token_types(types)
w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]])
w.add_bos_token_id(config["bos_token_id"]); w.add_eos_token_id(config["eos_token_id"]); w.add_add_bos_token(True)
def permute(x, heads):
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
with safe_open(str(folder / "model.safetensors"), "np") as f:
    for name in f.keys():
        x = f.get_tensor(name); base = name.removesuffix(".weight")
        if base == "model.embed_tokens": new = "token_embd"
        elif base == "model.norm": new = "output_norm"
        elif base == "lm_head": new = "output"
        else:
            _, _, layer, rest = base.split(".", 3); new = f"blk.{layer}.{parts[rest]}"
            if rest.endswith("q_proj"): x = permute(x, config["num_attention_heads"])
            if rest.endswith("k_proj"): x = permute(x, config["num_key_value_heads"])
        w.add_tensor(new + ".weight", x.astype(np.float32) if x.ndim == 1 else x.astype(np.float16))
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
