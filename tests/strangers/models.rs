//! Model files and folders: read right, or refused with the reason. Wherever one network can be written in two ways, both give
//! the same logits.

use crate::support::{
    config_json, gguf_metadata, gguf_tensors, relative_error, save_gguf, shape, tensors, tiny, write_folder,
    write_gguf, write_split_gguf,
};
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use sizewell::engine::backend::ops::Compute;
use sizewell::engine::model::{Decoder, Logits};
use sizewell::engine::weights::{self as source, model_shape};
use sizewell::workload::model::tensors::{BlockTensor, TensorName};
use sizewell::workload::{Architecture, CacheType, ModelShape, Quant, RopeScaling};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The logits of every one of a few positions.
fn logits(model: &Path) -> Result<Tensor, String> {
    let mut model = source::open(model, 0, false).map_err(|e| e.to_string())?;
    let divisors = model.weights.rope_divisors().map_err(|e| e.to_string())?;
    let quant = model.weights.native_quant().unwrap_or(Quant::F32);
    let mut decoder =
        Decoder::load(&model.shape, model.weights.as_mut(), quant, divisors, Compute::own(), &mut |_, _| ())
            .map_err(|e| e.to_string())?;
    decoder.allocate(1, 24, CacheType::F32).unwrap();
    let tokens: Vec<u32> = (0..24).map(|i| (i * 37 + 11) % 131).collect();
    let tokens = Tensor::from_vec(tokens, (1, 24), &Device::Cpu).unwrap();
    Ok(decoder.forward(&tokens, Logits::All).unwrap())
}

/// Why a model is not opened.
fn refused(model: &Path) -> String {
    match source::open(model, 0, false) {
        Ok(_) => panic!("{} is opened", model.display()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let error = relative_error(&logits(one).unwrap(), &logits(other).unwrap());
    assert!(error < 1e-5, "{} and {}: {error}", one.display(), other.display());
}

#[track_caller]
fn different(one: &Path, other: &Path) {
    let error = relative_error(&logits(one).unwrap(), &logits(other).unwrap());
    assert!(error > 1e-3, "{} and {}: {error}", one.display(), other.display());
}

/// A folder in `at` with the weights of `shape` and a config to which `keys` are added; null removes one.
fn folder(at: &Path, name: &str, shape: &ModelShape, keys: serde_json::Value) -> PathBuf {
    let folder = at.join(name);
    write_folder(&folder, shape, &tensors(shape), DType::F32, 1);
    let mut config = config_json(shape);
    for (key, value) in keys.as_object().unwrap() {
        if value.is_null() { drop(config.as_object_mut().unwrap().remove(key)) } else { config[key] = value.clone() }
    }
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder
}

/// The tensors of `shape` and another, in a folder of one file.
fn with_tensor(at: &Path, shape: &ModelShape, name: &str, tensor: Tensor) -> PathBuf {
    let folder = at.join(name);
    write_folder(&folder, shape, &tensors(shape), DType::F32, 1);
    let named = tensors(shape)
        .into_iter()
        .map(|(name, tensor)| (sizewell::workload::model::names::hugging_face(name).unwrap(), tensor));
    let all: HashMap<String, Tensor> = named.chain([(name.to_string(), tensor)]).collect();
    candle_core::safetensors::save(&all, folder.join("model.safetensors")).unwrap();
    folder
}

fn vector(values: Vec<f32>) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn quantized(tensor: &Tensor) -> QTensor {
    QTensor::quantize(tensor, GgmlDType::F32).unwrap()
}

fn biased(architecture: Architecture) -> ModelShape {
    ModelShape { qkv_bias: true, ..shape(architecture) }
}

#[test]
fn biases_are_used_whatever_the_architecture_and_the_order_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let (llama, qwen2) = (biased(Architecture::Llama), biased(Architecture::Qwen2));
    let weights = tensors(&llama);
    let files = ["llama.gguf", "qwen2.gguf", "mistral.gguf"].map(|name| at.join(name));
    write_gguf(&files[0], &llama, &weights, GgmlDType::F32);
    write_gguf(&files[1], &qwen2, &weights, GgmlDType::F32);
    write_gguf(&files[2], &biased(Architecture::Mistral), &weights, GgmlDType::F32);
    let folders = [
        folder(at, "qwen2", &qwen2, serde_json::json!({})),
        folder(at, "said", &llama, serde_json::json!({ "attention_bias": true })),
        folder(at, "not said", &llama, serde_json::json!({})),
    ];
    for model in files[1..].iter().chain(&folders) {
        same(&files[0], model);
    }
    different(&files[0], &folder(at, "without", &shape(Architecture::Llama), serde_json::json!({})));
    let message = refused(&folder(at, "denied", &llama, serde_json::json!({ "attention_bias": false })));
    assert!(message.contains("`attention_bias` is false") && message.contains("_proj.bias"), "{message}");
    let promised = serde_json::json!({ "attention_bias": true });
    let message = refused(&folder(at, "promised", &shape(Architecture::Llama), promised));
    assert!(message.contains("`model.layers.0.self_attn.q_proj.bias` is missing"), "{message}");
    // One of a key alone is not biases of all three.
    let half = at.join("half.gguf");
    let key = TensorName::Block(2, BlockTensor::KeyBias);
    let plain = shape(Architecture::Llama);
    let mut some = tensors(&plain);
    some.insert(key, weights[&key].clone());
    write_gguf(&half, &plain, &some, GgmlDType::F32);
    assert!(refused(&half).contains("`blk.0.attn_q.bias` is missing"), "{}", refused(&half));
}

#[test]
fn a_tensor_that_nothing_uses_is_named_unless_it_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let plain = shape(Architecture::Llama);
    let whole = folder(at, "plain", &plain, serde_json::json!({}));
    let gguf = |name: &str, tensor: Tensor| {
        let path = at.join("more.gguf");
        let mut all = gguf_tensors(&plain, &tensors(&plain), GgmlDType::F32);
        all.push((name.to_string(), quantized(&tensor)));
        save_gguf(&path, &gguf_metadata(&plain), &all);
        path
    };
    for name in ["blk.2.attn_output.bias", "blk.0.ffn_down.bias", "blk.0.attn_q_norm.weight", "blk.3.attn_norm.weight"]
    {
        let message = refused(&gguf(name, vector(vec![1.0; 96])));
        assert!(message.contains(&format!("`{name}` is not used")), "{message}");
    }
    for name in ["rope_factors_long.weight", "blk.0.rope_freqs.weight", "cls.weight"] {
        let message = refused(&gguf(name, vector(vec![1.0; 8])));
        assert!(message.contains(&format!("`{name}` is not used")), "{message}");
    }
    for name in ["model.layers.0.self_attn.o_proj.bias", "model.layers.3.mlp.up_proj.weight", "score.weight"] {
        let message = refused(&with_tensor(at, &plain, name, vector(vec![1.0; 96])));
        assert!(message.contains(&format!("`{name}` is not used")), "{message}");
    }
    let message = refused(&with_tensor(at, &plain, "model.layers.0.mlp.up_proj.weight_scale", vector(vec![1.0])));
    assert!(message.contains("quantized already (tensor `model.layers.0.mlp.up_proj.weight_scale`)"), "{message}");
    // Biases of zeros add nothing.
    same(&whole, &gguf("blk.2.attn_output.bias", vector(vec![0.0; 96])));
    same(&whole, &with_tensor(at, &plain, "model.layers.0.self_attn.o_proj.bias", vector(vec![0.0; 96])));
    // Frequencies that the config gives anyway are no news; others would be another network.
    let frequencies = |theta: f32| vector((0..8).map(|i| theta.powf(-(i as f32) / 8.0)).collect());
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    same(&whole, &with_tensor(at, &plain, name, frequencies(10_000.0)));
    let message = refused(&with_tensor(at, &plain, name, frequencies(500_000.0)));
    assert!(message.contains(&format!("`{name}` is not used")), "{message}");
}

#[test]
fn an_output_matrix_is_what_the_config_and_the_files_agree_on() {
    let dir = tempfile::tempdir().unwrap();
    let tied = ModelShape { tied_embeddings: true, ..shape(Architecture::Llama) };
    let whole = folder(dir.path(), "tied", &tied, serde_json::json!({}));
    same(&whole, &folder(dir.path(), "silent", &tied, serde_json::json!({ "tie_word_embeddings": null })));
    let copy = tensors(&tied)[&TensorName::TokenEmbedding].clone();
    let other = (&copy + 0.5).unwrap();
    same(&whole, &with_tensor(dir.path(), &tied, "lm_head.weight", copy));
    let message = refused(&with_tensor(dir.path(), &tied, "lm_head.weight", other));
    assert!(message.contains("`tie_word_embeddings` is true") && message.contains("`lm_head.weight`"), "{message}");
    let message = refused(&folder(dir.path(), "untied", &tied, serde_json::json!({ "tie_word_embeddings": false })));
    assert!(
        message.contains("`lm_head.weight` is missing; ") && message.contains("`tie_word_embeddings`"),
        "{message}"
    );
}

#[test]
fn a_tensor_that_is_there_twice_is_no_matter_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let plain = shape(Architecture::Llama);
    let folder = folder(dir.path(), "two", &plain, serde_json::json!({}));
    let norm = HashMap::from([("model.norm.weight".to_string(), vector(vec![7.0; 96]))]);
    for name in ["zzz_old.safetensors", "aaa_old.safetensors"] {
        candle_core::safetensors::save(&norm, folder.join(name)).unwrap();
        let message = refused(&folder);
        assert!(message.contains("tensor `model.norm.weight` is in ") && message.contains(name), "{message}");
        fs::remove_file(folder.join(name)).unwrap();
    }
    // The copy that Mistral publishes under names of its own is known as one.
    candle_core::safetensors::save(&norm, folder.join("consolidated.safetensors")).unwrap();
    logits(&folder).unwrap();
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = (twice.len() as u64).to_le_bytes().to_vec();
    bytes.extend(twice.bytes().chain([0; 4]));
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    assert!(refused(&folder).contains("tensor `a` is listed twice"), "{}", refused(&folder));
    let path = dir.path().join("twice.gguf");
    let mut all = gguf_tensors(&plain, &tensors(&plain), GgmlDType::F32);
    all.push(("output_norm.weight".to_string(), quantized(&vector(vec![7.0; 96]))));
    save_gguf(&path, &gguf_metadata(&plain), &all);
    assert!(refused(&path).contains("tensor `output_norm.weight` is listed twice"), "{}", refused(&path));
    all.pop();
    let metadata = [gguf_metadata(&plain), vec![("llama.rope.freq_base".to_string(), Value::F32(5e5))]].concat();
    save_gguf(&path, &metadata, &all);
    assert!(refused(&path).contains("metadata `llama.rope.freq_base` is there twice"), "{}", refused(&path));
}

#[test]
fn an_index_that_is_not_of_the_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sharded");
    let plain = shape(Architecture::Llama);
    write_folder(&folder, &plain, &tensors(&plain), DType::F32, 2);
    let index = folder.join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    logits(&folder).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(parsed["weight_map"].as_object_mut().unwrap());
        fs::write(&index, parsed.to_string()).unwrap();
        refused(&folder)
    };
    let held = serde_json::from_str::<serde_json::Value>(&text).unwrap()["weight_map"]["model.norm.weight"].clone();
    let other = if held == first { second } else { first };
    let message = with(&|map| drop(map.insert("model.norm.weight".to_string(), other.into())));
    assert!(message.contains(&format!("tensor `model.norm.weight` is not in {other}")), "{message}");
    let message = with(&|map| drop(map.remove("model.norm.weight")));
    assert!(message.contains("does not name tensor `model.norm.weight`"), "{message}");
    let message = with(&|map| drop(map.insert("model.more.weight".to_string(), first.into())));
    assert!(message.contains("tensor `model.more.weight` is not in"), "{message}");
    fs::write(&index, &text).unwrap();
    fs::copy(folder.join(first), folder.join("model.safetensors")).unwrap();
    assert!(refused(&folder).contains("holds model.safetensors too"), "{}", refused(&folder));
}

#[test]
fn positions_are_the_same_by_every_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let plain = shape(Architecture::Llama);
    let model = |name: &str, keys: serde_json::Value| folder(dir.path(), name, &plain, keys);
    let base = model("plain", serde_json::json!({}));
    let far = model("500k", serde_json::json!({ "rope_theta": 500_000.0 }));
    let linear = model("linear", serde_json::json!({ "rope_scaling": { "type": "linear", "factor": 4.0 } }));
    different(&base, &far);
    different(&base, &linear);
    for (name, keys) in [
        (
            "in scaling",
            serde_json::json!({ "rope_theta": null, "rope_scaling": { "rope_type": "default", "rope_theta": 5e5 } }),
        ),
        ("in parameters", serde_json::json!({ "rope_theta": null, "rope_parameters": { "rope_theta": 500_000 } })),
    ] {
        same(&far, &model(name, keys));
    }
    let both = serde_json::json!({ "rope_scaling": { "type": "linear", "rope_type": "linear", "factor": 4.0 } });
    same(&linear, &model("both", both));
    // The same network with the factor in the metadata of a GGUF file, as its divisors, and half by each.
    for (name, factor, divisor) in
        [("factor", Some(4.0), None), ("divisors", None, Some(4.0)), ("half", Some(2.0), Some(2.0))]
    {
        let path = dir.path().join(format!("{name}.gguf"));
        let mut metadata = gguf_metadata(&plain);
        metadata.extend(factor.map(|factor| ("llama.rope.scaling.factor".to_string(), Value::F32(factor))));
        let mut all = gguf_tensors(&plain, &tensors(&plain), GgmlDType::F32);
        let divisors = |divisor| ("rope_freqs.weight".to_string(), quantized(&vector(vec![divisor; 8])));
        all.extend(divisor.map(divisors));
        save_gguf(&path, &metadata, &all);
        same(&linear, &path);
    }
}

#[test]
fn keys_that_the_engine_does_not_follow_stop_a_job_before_its_first_case() {
    let dir = tempfile::tempdir().unwrap();
    let (_, workload) = tiny::write(dir.path());
    let plain = shape(Architecture::Llama);
    for (key, value) in [
        ("partial_rotary_factor", serde_json::json!(0.5)),
        ("hidden_act", "gelu".into()),
        ("layer_types", serde_json::json!(["sliding_attention", "full_attention", "full_attention"])),
        ("final_logit_softcapping", 30.0.into()),
        ("attention_multiplier", 0.5.into()),
        ("mlp_bias", true.into()),
        ("quantization_config", serde_json::json!({ "quant_method": "gptq", "bits": 4 })),
    ] {
        let model = folder(dir.path(), key, &plain, serde_json::json!({ key: value }));
        let output = dir.path().join("run");
        let mut command = tiny::sizewell();
        command
            .args(["profile", "--no-ceilings", "--model"])
            .arg(&model)
            .arg("-w")
            .arg(&workload)
            .arg("-o")
            .arg(&output);
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{key}: {text}");
        assert!(text.contains("config.json") && text.contains(&format!("`{key}`")), "{key}: {text}");
        assert!(!output.exists(), "{key}");
    }
}

#[test]
fn metadata_that_the_engine_does_not_follow_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let plain = shape(Architecture::Llama);
    let path = dir.path().join("m.gguf");
    let all = gguf_tensors(&plain, &tensors(&plain), GgmlDType::F32);
    let write = |key: &str, value: Value| {
        let mut metadata = gguf_metadata(&plain);
        metadata.retain(|(known, _)| known != key);
        metadata.push((key.to_string(), value));
        save_gguf(&path, &metadata, &all);
    };
    let layers = |values: [u32; 3]| Value::Array(values.map(Value::U32).to_vec());
    let flags = |values: [bool; 3]| Value::Array(values.map(Value::Bool).to_vec());
    for (key, value) in [
        ("llama.attention.scale", Value::F32(0.5)),
        ("llama.logit_scale", Value::F32(8.0)),
        ("llama.residual_scale", Value::F32(0.22)),
        ("llama.embedding_scale", Value::F32(12.0)),
        ("llama.final_logit_softcapping", Value::F32(30.0)),
        ("llama.attention.value_length", Value::U32(32)),
        ("llama.expert_count", Value::U32(8)),
        ("llama.rope.scaling.type", Value::String("yarn".to_string())),
        ("llama.rope.dimension_sections", layers([4, 2, 2])),
        ("llama.attention.causal", Value::Bool(false)),
        ("llama.attention.head_count_kv", layers([2, 1, 2])),
        ("general.type", Value::String("adapter".to_string())),
    ] {
        write(key, value);
        assert!(refused(&path).contains(&format!("`{key}`")), "{key}: {}", refused(&path));
    }
    let whole = folder(dir.path(), "plain", &plain, serde_json::json!({}));
    for (key, value) in [
        ("llama.attention.scale", Value::F32(0.25)),
        ("llama.logit_scale", Value::F32(0.0)),
        ("llama.attention.head_count_kv", layers([2, 2, 2])),
        ("general.type", Value::String("model".to_string())),
    ] {
        write(key, value);
        same(&whole, &path);
    }
    let window = |pattern: Option<Value>| {
        let mut metadata = gguf_metadata(&plain);
        metadata.push(("llama.attention.sliding_window".to_string(), Value::U32(4)));
        metadata.extend(pattern.map(|pattern| ("llama.attention.sliding_window_pattern".to_string(), pattern)));
        save_gguf(&path, &metadata, &all);
        source::open(&path, 0, false).map(|model| model.shape.sliding_window).map_err(|e| e.to_string())
    };
    assert_eq!((window(None), window(Some(flags([true; 3])))), (Ok(Some(4)), Ok(Some(4))));
    let message = window(Some(flags([true, true, false]))).unwrap_err();
    assert!(message.contains("`llama.attention.sliding_window_pattern`"), "{message}");
}

#[test]
fn the_parts_of_a_split_model_are_one_model_or_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (at, plain) = (dir.path(), shape(Architecture::Llama));
    let whole = at.join("whole.gguf");
    write_gguf(&whole, &plain, &tensors(&plain), GgmlDType::Q8_0);
    let first = write_split_gguf(at, "m", &plain);
    let second = at.join("m-00002-of-00002.gguf");
    same(&whole, &first);
    same(&whole, &second);
    let model = source::open(&first, 0, false).unwrap();
    assert_eq!(model.name, "m");
    // Another second part is another model.
    let hash = model.hash().unwrap();
    let bytes = fs::read(&second).unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&second, changed).unwrap();
    assert_ne!(source::open(&first, 0, false).unwrap().hash().unwrap(), hash);
    fs::rename(&second, at.join("elsewhere.gguf")).unwrap();
    let message = refused(&first);
    assert!(message.contains("one of 2 parts, and m-00002-of-00002.gguf"), "{message}");
    let message = refused(&at.join("elsewhere.gguf"));
    assert!(message.contains("part 2 of 2") && message.contains("NAME-00002-of-00002.gguf"), "{message}");
    fs::copy(&first, &second).unwrap();
    assert!(refused(&first).contains("is not part 2 of 2"), "{}", refused(&first));
    // Set end to end, they are no model, though the first part's header is whole.
    let joined = at.join("joined.gguf");
    fs::write(&joined, [fs::read(&first).unwrap(), bytes].concat()).unwrap();
    let message = refused(&joined);
    assert!(message.contains("another GGUF file begins at byte") && message.contains("set end to end"), "{message}");
    let big = at.join("big.gguf");
    fs::write(&big, [b"GGUF".as_slice(), &3u32.to_be_bytes(), &[0; 16]].concat()).unwrap();
    assert!(refused(&big).contains("big-endian"), "{}", refused(&big));
}

#[test]
fn a_tokenizer_that_makes_the_library_panic_is_an_error_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let model = folder(dir.path(), "m", &shape(Architecture::Llama), serde_json::json!({}));
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/models");
    let data = dir.path().join("t.txt");
    fs::write(&data, "some words").unwrap();
    let server = "http://127.0.0.1:1";
    for name in ["tokenizer-197169.json", "tokenizer-326950.json"] {
        fs::copy(cases.join(name), model.join("tokenizer.json")).unwrap();
        let run = |args: &[&str], paths: &[&Path]| {
            let out = tiny::sizewell().args(args).args(paths).output().unwrap();
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(1), "{name} {args:?}: {text}");
            assert!(text.contains("tokenizer.json: not a tokenizer: "), "{name} {args:?}: {text}");
            assert!(!text.contains("panicked"), "{name} {args:?}: {text}");
        };
        run(&["quality", "--data"], &[&data, Path::new("--model"), &model]);
        run(&["profile", "--no-ceilings", "--quick", "--model"], &[&model]);
        run(&["load", "--rate", "1", "--model"], &[&model]);
        run(&["load", "--rate", "1", "--endpoint", server, "--served-model", "m", "--tokenizer"], &[&model]);
    }
}

#[test]
fn a_token_of_a_million_characters_takes_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let (path, plain) = (dir.path().join("long.gguf"), shape(Architecture::Llama));
    let mut pieces: Vec<String> = (0..131).map(|index| format!("x{index}")).collect();
    pieces[7] = "a".repeat(1_000_000);
    let list = |values: Vec<Value>| Value::Array(values);
    let mut metadata = gguf_metadata(&plain);
    metadata.extend([
        ("tokenizer.ggml.model".to_string(), Value::String("llama".to_string())),
        ("tokenizer.ggml.tokens".to_string(), list(pieces.into_iter().map(Value::String).collect())),
        ("tokenizer.ggml.scores".to_string(), list((0..131).map(|i| Value::F32(-(i as f32))).collect())),
        ("tokenizer.ggml.bos_token_id".to_string(), Value::U32(1)),
    ]);
    save_gguf(&path, &metadata, &gguf_tensors(&plain, &tensors(&plain), GgmlDType::F32));
    let begun = std::time::Instant::now();
    let message = refused(&path);
    assert!(message.contains("long.gguf") && message.contains("token 7 is 1000000 bytes long"), "{message}");
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn names_need_not_be_utf_8() {
    let dir = tempfile::tempdir().unwrap();
    let plain = shape(Architecture::Llama);
    let whole = folder(dir.path(), "plain", &plain, serde_json::json!({}));
    let named = dir.path().join(OsStr::from_bytes(b"m\xff"));
    fs::rename(folder(dir.path(), "m", &plain, serde_json::json!({})), &named).unwrap();
    same(&whole, &named);
    let file = dir.path().join(OsStr::from_bytes(b"m\xff.gguf"));
    write_gguf(&file, &plain, &tensors(&plain), GgmlDType::F32);
    same(&whole, &file);
    assert_eq!(model_shape(&named, false).unwrap().shape, plain);
    assert!(refused(&dir.path().join(OsStr::from_bytes(b"none\xff"))).contains("no such file or folder"));
}

#[test]
fn a_shape_is_had_of_whatever_gives_one() {
    let dir = tempfile::tempdir().unwrap();
    let scaling = RopeScaling::Linear { factor: 4.0 };
    let plain = ModelShape { rope_scaling: Some(scaling), ..shape(Architecture::Llama) };
    let keys = serde_json::json!({ "rope_scaling": { "rope_type": "linear", "type": "linear", "factor": 4.0 } });
    let model = folder(dir.path(), "my-model", &plain, keys);
    // No weights are needed.
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let known = model_shape(&model, false).unwrap();
    assert_eq!((known.name.as_str(), &known.shape), ("my-model", &plain));
    let known = model_shape(model.join("config.json"), false).unwrap();
    assert_eq!((known.name.as_str(), &known.shape), ("my-model", &plain));
    assert_eq!(model_shape("llama-3.2-1b", false).unwrap().name, "llama-3.2-1b");
    assert_eq!(model_shape("reference", false).unwrap().shape, source::open("reference", 0, false).unwrap().shape);
    let (preset, _) = tiny::write(dir.path());
    assert_eq!(model_shape(&preset, false).unwrap().name, "tiny");
    let out = tiny::sizewell().args(["models", "show", "--json"]).arg(&model).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&shown["name"], &shown["shape"]["head_dim"]), (&"my-model".into(), &16.into()));
    assert_eq!(shown["shape"]["rope_scaling"]["factor"], 4.0);
    let out = tiny::sizewell().args(["models", "show"]).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && text.contains("config.json"), "{text}");
    let out = tiny::sizewell().args(["models", "synth", "-o", "x.gguf", "--model"]).arg(&model).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && text.contains("is a file or folder"), "{text}");
}
