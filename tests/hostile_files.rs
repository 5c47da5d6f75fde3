//! Wrong, truncated and hostile model files: an error that names the file and what is wrong, never a panic, and never
//! more memory than the file can justify.

// A program exports nothing.
#![allow(unreachable_pub)]

mod support;

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use proptest::prelude::*;
use sizewell::engine::backend::ops::Compute;
use sizewell::engine::model::{Decoder, Logits};
use sizewell::engine::weights as source;
use sizewell::workload::{Architecture, CacheType, Quant};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{config_json, shape, tensors, write_folder, write_gguf};

/// Counts memory, so that a test can say how much a file made the reader take.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as asked.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as asked.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far above what the small models here need, tests running side by side included.
const PLENTY: usize = 256 << 20;

/// Opens, loads and runs a model; the error as text.
fn try_model(path: &Path) -> Result<(), String> {
    let before = NOW.load(Ordering::Relaxed);
    let outcome = load(path);
    let peak = PEAK.load(Ordering::Relaxed);
    assert!(peak < before + PLENTY, "reading {} took {} MiB", path.display(), peak >> 20);
    outcome
}

fn load(path: &Path) -> Result<(), String> {
    let mut model = source::open(path.to_str().unwrap(), 0, false).map_err(|e| e.to_string())?;
    let quant = model.weights.native_quant().unwrap_or(Quant::F32);
    let divisors = model.weights.rope_divisors().map_err(|e| e.to_string())?;
    let mut decoder =
        Decoder::load(&model.shape, model.weights.as_mut(), quant, divisors, Compute::own(), &mut |_, _| ())
            .map_err(|e| e.to_string())?;
    decoder.allocate(1, 4, CacheType::F32).map_err(|e| e.to_string())?;
    let tokens = candle_core::Tensor::new(&[[0u32, 0]], &candle_core::Device::Cpu).unwrap();
    decoder.forward(&tokens, Logits::Last).map(|_| ()).map_err(|e| e.to_string())
}

fn small_gguf(folder: &Path) -> (PathBuf, Vec<u8>) {
    let mut shape = shape(Architecture::Llama);
    shape.layers = 1;
    let path = folder.join("small.gguf");
    write_gguf(&path, &shape, &tensors(&shape), GgmlDType::F16);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn the_small_models_load() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(try_model(&small_gguf(dir.path()).0), Ok(()));
    let shape = shape(Architecture::Llama);
    write_folder(dir.path(), &shape, &tensors(&shape), DType::BF16, 2);
    assert_eq!(try_model(dir.path()), Ok(()));
}

#[test]
fn a_truncated_gguf_file_is_named_wherever_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = small_gguf(dir.path());
    for len in (0..bytes.len()).step_by(bytes.len() / 300) {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = try_model(&path).unwrap_err();
        assert!(error.contains("small.gguf"), "{len}: {error}");
        assert!(len < 4 || error.contains("truncated"), "{len}: {error}");
    }
}

/// A GGUF header: magic, version, counts, then whatever follows.
fn gguf(tensors: u64, metadata: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(metadata.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

fn tensor(dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text("t");
    bytes.extend((dims.len() as u32).to_le_bytes());
    bytes.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

#[test]
fn a_lying_gguf_header_is_refused_by_what_it_claims() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lie.gguf");
    let huge = u64::MAX.to_le_bytes();
    let array = |kind: u32, len: u64| [kind.to_le_bytes().to_vec(), len.to_le_bytes().to_vec()].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no magic", b"GGML\x03\0\0\0".to_vec(), "does not begin with"),
        ("version", b"GGUF\x63\0\0\0".to_vec(), "version 99"),
        ("tensors", gguf(u64::MAX, 0, &[]), "tensors; at most"),
        ("metadata", gguf(0, u64::MAX, &[]), "metadata entries; at most"),
        ("key", gguf(0, 1, &huge), "bytes long"),
        ("key in file", gguf(0, 1, &(1u64 << 20).to_le_bytes()), "truncated"),
        ("string", gguf(0, 1, &entry("k", 8, &huge)), "the value of `k`"),
        ("array", gguf(0, 1, &entry("k", 9, &array(4, u64::MAX))), "the array `k`"),
        ("array in file", gguf(0, 1, &entry("k", 9, &array(4, 1 << 20))), "truncated"),
        ("array of nothing", gguf(0, 1, &entry("k", 9, &array(9, 1 << 23))), "the array `k`"),
        ("kind", gguf(0, 1, &entry("k", 99, &[])), "unknown type 99"),
        ("alignment 0", gguf(0, 1, &entry("general.alignment", 4, &[0; 4])), "power of two"),
        ("alignment kind", gguf(0, 1, &entry("general.alignment", 10, &[0; 8])), "32-bit"),
        ("dimension", gguf(1, 0, &tensor(&[1 << 40, 1 << 40], 0, 0)), "not plausible"),
        ("zero dimension", gguf(1, 0, &tensor(&[0, 4], 0, 0)), "not plausible"),
        ("rank", gguf(1, 0, &tensor(&[1; 9], 0, 0)), "9 dimensions"),
        ("row", gguf(1, 0, &tensor(&[33, 2], 8, 0)), "do not divide"),
        ("offset", gguf(1, 0, &tensor(&[32, 2], 0, u64::MAX - 31)), "truncated"),
        ("unaligned", gguf(1, 0, &tensor(&[32, 2], 0, 7)), "not a multiple of 32"),
        ("big tensor", gguf(1, 0, &tensor(&[1 << 20, 1 << 10], 0, 0)), "truncated"),
    ];
    for (name, bytes, part) in cases {
        fs::write(&path, bytes).unwrap();
        let error = try_model(&path).unwrap_err();
        assert!(error.contains("lie.gguf") && error.contains(part), "{name}: {error}");
    }
    let nested = (0..20).fold(array(0, 0), |inner, _| [array(9, 1), inner].concat());
    fs::write(&path, gguf(0, 1, &entry("k", 9, &nested))).unwrap();
    assert!(try_model(&path).unwrap_err().contains("nests arrays"));
}

#[test]
fn gguf_metadata_that_contradicts_the_tensors_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = small_gguf(dir.path());
    let with = |key: &str, value: u32| {
        let at = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap() + key.len() + 4;
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        fs::write(&path, changed).unwrap();
        try_model(&path).unwrap_err()
    };
    assert!(with("llama.block_count", 2).contains("`blk.1.attn_q.weight` is missing"));
    assert!(with("llama.block_count", u32::MAX).contains("layers is 4294967295"));
    assert!(with("llama.embedding_length", 128).contains("has the shape"));
    assert!(with("llama.attention.head_count", 0).contains("head"));
    assert!(with("llama.attention.head_count_kv", 4).contains("multiple of kv_heads"));
    let mut renamed = bytes.clone();
    let at = bytes.windows(9).position(|w| w == b"\x05\0\0\0\0\0\0\0l").unwrap() + 8;
    renamed[at..at + 5].copy_from_slice(b"gemma");
    fs::write(&path, renamed).unwrap();
    let error = try_model(&path).unwrap_err();
    assert!(error.contains("`gemma` is not supported") && error.contains("llama, mistral, qwen2, qwen3"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_of_a_gguf_header_never_panic(flips in proptest::collection::vec((0usize..2200, any::<u8>()), 1..6)) {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes) = small_gguf(dir.path());
        for (at, value) in flips {
            bytes[at] = value;
        }
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = try_model(&path) {
            prop_assert!(!error.is_empty());
        }
    }

    #[test]
    fn flipped_bytes_of_a_safetensors_header_never_panic(flips in proptest::collection::vec((0usize..1500, any::<u8>()), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let mut shape = shape(Architecture::Qwen2);
        shape.layers = 1;
        write_folder(dir.path(), &shape, &tensors(&shape), DType::F32, 1);
        let path = dir.path().join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in flips {
            bytes[at] = value;
        }
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = try_model(dir.path()) {
            prop_assert!(!error.is_empty());
        }
    }
}

#[test]
fn a_bad_folder_is_named_by_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(Architecture::Llama);
    let fresh = || write_folder(dir.path(), &shape, &tensors(&shape), DType::F32, 1);
    let file = dir.path().join("model.safetensors");
    let header = |json: &str, data: &[u8]| {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.extend(data);
        fs::write(&file, bytes).unwrap();
        try_model(dir.path()).unwrap_err()
    };
    assert!(try_model(dir.path()).unwrap_err().contains("config.json"));
    fresh();
    let embed = |dtype: &str, shape: &str, range: &str| {
        format!(r#"{{"model.embed_tokens.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{range}}}}}"#)
    };
    assert!(header("{", &[]).contains("header cannot be read"));
    assert!(header("{}", &[]).contains("`model.embed_tokens.weight` is missing"));
    assert!(header(&embed("F32", "[131,96]", "[0,50304]"), &[0; 10]).contains("truncated"));
    assert!(header(&embed("F32", "[131,96]", "[0,10]"), &[0; 10]).contains("header cannot be read"));
    assert!(header(&embed("F32", "[18446744073709551615,2]", "[0,8]"), &[0; 8]).contains("model.safetensors"));
    assert!(header(&embed("F32", "[1,1]", "[8,4]"), &[0; 8]).contains("model.safetensors"));
    assert!(header(&embed("F32", "[131,95]", "[0,49780]"), &[0; 49780]).contains("has the shape [131, 95]"));
    assert!(header(&embed("I32", "[131,96]", "[0,50304]"), &[0; 50304]).contains("is I32"));
    fs::write(&file, u64::MAX.to_le_bytes()).unwrap();
    assert!(try_model(dir.path()).unwrap_err().contains("model.safetensors"));
    fs::remove_file(&file).unwrap();
    assert!(try_model(dir.path()).unwrap_err().contains("no *.safetensors"));
    fresh();
    let index = dir.path().join("model.safetensors.index.json");
    for name in ["../../etc/passwd", "/etc/passwd", "missing.safetensors"] {
        fs::write(&index, format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#)).unwrap();
        let error = try_model(dir.path()).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
    fs::remove_file(&index).unwrap();
    fs::write(dir.path().join("tokenizer.json"), "[1, 2").unwrap();
    assert!(try_model(dir.path()).unwrap_err().contains("tokenizer.json"));
}

#[test]
fn absurd_sizes_in_a_config_are_refused_before_memory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(Architecture::Llama);
    write_folder(dir.path(), &shape, &tensors(&shape), DType::F32, 1);
    for key in ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings", "num_attention_heads"] {
        let mut config = config_json(&shape);
        config[key] = (1u64 << 50).into();
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let error = try_model(dir.path()).unwrap_err();
        assert!(error.contains("config.json"), "{key}: {error}");
    }
}

#[test]
fn what_is_no_model_at_all_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "hello").unwrap();
    assert!(try_model(&file).unwrap_err().contains("not a GGUF file"));
    assert!(try_model(Path::new("lama-3.1-8b")).unwrap_err().contains("did you mean `llama-3.1-8b`"));
    let single = dir.path().join("model.safetensors");
    fs::write(&single, "").unwrap();
    assert!(try_model(&single).unwrap_err().contains("give the folder"));
}
