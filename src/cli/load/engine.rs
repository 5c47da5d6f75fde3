//! A model served in process: to our own generator, or behind a port.

use super::args::{Args, Asked};
use super::target::{Opened, prompts};
use crate::cli::setup::{by_candle, cuda_engine, model_record, new_record, open_card};
use crate::cli::stop::stop_was_asked;
use crate::cli::talk::Talk;
use crate::cli::{Exit, usage};
use crate::engine::backend::ops::Kernels;
use crate::engine::open::About;
use crate::engine::scheduler::target::EngineTarget;
use crate::engine::scheduler::{BatchModel, Scheduler};
use crate::engine::serve::{self, Served};
use crate::engine::tokenizing::Texts;
use crate::engine::{session::candle::CandleEngine, weights as source};
use crate::measure::load::Load;
use crate::record::{EngineRecord, ModelRecord, SchedulerRecord};
use crate::workload::Quant;
use crate::workload::traffic::Wording;
use crate::workload::traffic::prompts::Vocabulary;
use std::sync::Arc;
use std::time::Duration;
use tokenizers::Tokenizer;

/// Positions of a place where prompts come from elsewhere.
const USUAL_CONTEXT: usize = 2048;
/// Tokens that a model puts around a prompt.
const AROUND: usize = 8;

/// A running engine.
struct Engine {
    scheduler: Scheduler,
    record: SchedulerRecord,
    engine: EngineRecord,
    model: ModelRecord,
    tokenizer: Option<Tokenizer>,
    quant: Quant,
    name: String,
}

fn start(args: &Args, asked: &Asked, threads: usize, talk: &Talk) -> anyhow::Result<Engine> {
    let target = &args.target;
    target.quant.map_or(Ok(()), |quant| quant.runnable().map(|_| ())).or_else(usage)?;
    let model = source::open(target.model.as_deref().unwrap_or_default(), args.seed, talk.shows_progress())?;
    let quant = target.quant.or(model.weights.native_quant()).unwrap_or(Quant::F16);
    model.weights.check_quant(quant).or_else(usage)?;
    let slot_tokens = context(args, asked, model.shape.max_context)?;
    let (record, tokenizer, name) = (model_record(About::of(&model))?, model.tokenizer.clone(), model.name.clone());
    talk.say(format!("loading {name} at {quant}"));
    let card = open_card(target.device)?;
    let engine_record = match &card {
        Some(card) => by_candle(cuda_engine(card)),
        None => new_record(&args.measure_args(), threads).engine,
    };
    // The project's kernels of cards run batches of one length: sequences that come and go need candle's.
    let engine = match card {
        Some(card) => CandleEngine::on_card(model, card)?,
        None => CandleEngine::new(model, Kernels::Own),
    };
    let (batch, limited_by_memory) = engine.batch_model(quant, target.max_batch, slot_tokens, target.prefill_chunk)?;
    let slots = batch.slots();
    if limited_by_memory {
        talk.warn(format!("memory allows {slots} places of {slot_tokens} tokens, not {}", target.max_batch));
    }
    let scheduler = Scheduler::start(Box::new(batch), target.prefill_chunk)?;
    let prefill_chunk = target.prefill_chunk;
    Ok(Engine {
        scheduler,
        record: SchedulerRecord { slots, slot_tokens, prefill_chunk, limited_by_memory },
        engine: engine_record,
        model: record,
        tokenizer,
        quant,
        name,
    })
}

/// Positions of a place: those of the longest request that is planned, where that is known.
fn context(args: &Args, asked: &Asked, most: usize) -> anyhow::Result<usize> {
    if let Some(context) = args.target.context {
        return match context <= most {
            true => Ok(context),
            false => usage(format!("--context {context}: the model has a context of {most}")),
        };
    }
    let traffic = &args.traffic;
    let planned = match (&asked.load, &traffic.prompts, &args.target.serve) {
        (_, _, Some(_)) | (_, Some(_), _) => return Ok(USUAL_CONTEXT.min(most)),
        (Some(Load::Trace { trace, .. }), ..) => {
            trace.requests.iter().map(|request| request.prompt_tokens + request.gen_tokens).max().unwrap_or(1)
        }
        _ => traffic.prompt.nearly_most() + traffic.gen_tokens.nearly_most(),
    };
    if planned > most {
        return usage(format!("prompts and answers of up to {planned} tokens exceed the model's context of {most}"));
    }
    Ok((planned + AROUND).min(most))
}

/// The engine as the target of a load test.
pub(super) fn in_process(args: &Args, asked: &Asked, threads: usize, talk: &Talk) -> anyhow::Result<Opened> {
    let engine = start(args, asked, threads, talk)?;
    let vocabulary = engine.tokenizer.clone().map(|tokenizer| Arc::new(Vocabulary::new(tokenizer)));
    let wording = match &vocabulary {
        Some(vocabulary) => Wording::Vocabulary(vocabulary.clone()),
        None => Wording::Tokens(engine.model.shape.vocab_size),
    };
    let vocab = engine.model.shape.vocab_size;
    let target = EngineTarget::new(engine.scheduler, engine.tokenizer.map(|tokenizer| Texts::of(tokenizer, vocab)));
    Ok(Opened {
        target: Arc::new(target),
        place: "in process".to_string(),
        api: "engine".to_string(),
        engine: engine.engine,
        model_name: engine.name,
        model: Some(engine.model),
        quant: engine.quant,
        notes: vec![format!(
            "continuous batching: {} places of {} tokens, prompts in chunks of up to {} tokens a pass; generator and engine \
             share this machine",
            engine.record.slots, engine.record.slot_tokens, engine.record.prefill_chunk
        )],
        prompts: prompts(args, (asked.shared, asked.nonce), wording, vocabulary)?,
        is_here: true,
        scheduler: Some(engine.record),
        secrets: Vec::new(),
    })
}

/// Serves the model at an address until the user stops it.
pub(super) fn behind_a_port(
    args: &Args,
    asked: &Asked,
    threads: usize,
    address: &str,
    talk: &Talk,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // An address that is taken is said before a model is loaded.
    let listener = match runtime.block_on(tokio::net::TcpListener::bind(address)) {
        Ok(listener) => listener,
        Err(error) => anyhow::bail!("--serve {address}: {error}"),
    };
    let here = listener.local_addr()?;
    let engine = start(args, asked, threads, talk)?;
    let vocab = engine.model.shape.vocab_size;
    let texts = match engine.tokenizer {
        Some(tokenizer) => Texts::of(tokenizer, vocab),
        None => Texts::Words(vocab),
    };
    if matches!(texts, Texts::Words(_)) {
        talk.say("random weights: every word of a prompt is a token");
    }
    let served = Arc::new(Served::new(engine.scheduler, texts, engine.name.clone()));
    let SchedulerRecord { slots, slot_tokens, .. } = engine.record;
    talk.say(format!(
        "serving {} at http://{here}: {slots} places of {slot_tokens} tokens; Ctrl-C ends it",
        engine.name
    ));
    let stop = async {
        while !stop_was_asked() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let served = runtime.block_on(serve::serve(listener, served, stop));
    // A long text that is being tokenized is for nobody now.
    runtime.shutdown_background();
    served?;
    Ok(Exit::Done)
}
