//! Encoders against themselves: any batch, any quantization, and what is said of broken ones.

use super::encoder_models::*;
use crate::support::relative_error;
use candle_core::{DType, Device, Tensor};
use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::session::encoder::{EncoderEngine, Forward};
use sizewell::engine::weights::folder::open as open_folder;
use sizewell::engine::weights::synthetic;
use sizewell::engine::{Engine, EngineError};
use sizewell::workload::{Architecture, Case, Input, Preset, Quant};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

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
fn a_case_is_one_pass_and_one_step() {
    const BERT: &str = "name = \"tiny\"\nabout = \"Tiny\"\nsource = \"https://example.org\"\n[shape]\n\
        architecture = \"bert\"\nhidden_size = 64\nintermediate_size = 128\nlayers = 2\nheads = 4\nkv_heads = 4\n\
        head_dim = 16\nvocab_size = 100\nmax_context = 32\nnorm_eps = 1e-12\nrope_theta = 0.0\n\
        tied_embeddings = true\nqkv_bias = true\ntoken_types = 2\n";
    let vit = BERT.replace("\"bert\"", "\"vit\"").replace("max_context = 32", "max_context = 17");
    let vit = vit.replace("token_types = 2", "[shape.image]\npatch = 8\nsize = 32\nchannels = 3");
    for (text, image_size, prompt_tokens) in [(BERT, None, 12), (vit.as_str(), Some(40), 26)] {
        let reference = cfg!(feature = "reference").then_some(Kernels::Candle);
        for kernels in [Kernels::Own].into_iter().chain(reference) {
            let preset = Preset::parse("tiny.toml", text).unwrap();
            let mut engine = EncoderEngine::new(synthetic::open(&preset, 1), kernels);
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
