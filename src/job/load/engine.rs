//! A model served in process: to our own generator, or behind a port.

use super::options::ModelOptions;
use super::target::OpenedTarget;
use crate::engine::scheduler::Scheduler;
use crate::engine::scheduler::target::EngineTarget;
use crate::engine::serve::{self, ServerState};
use crate::engine::tokenizing::Texts;
use crate::engine::weights as source;
use crate::engine::weights::ModelDescription;
use crate::job::Context;
use crate::job::engine::{model_record, serving};
use crate::job::error::{JobError, failed, usage};
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
struct RunningEngine {
    scheduler: Scheduler,
    record: SchedulerRecord,
    engine: EngineRecord,
    model: ModelRecord,
    tokenizer: Option<Tokenizer>,
    quant: Quant,
    name: String,
}

/// Starts the engine, with places for requests of up to `longest` tokens, where that is known.
fn start(
    options: &ModelOptions,
    seed: u64,
    longest: Option<usize>,
    context: Context<'_>,
) -> Result<RunningEngine, JobError> {
    options.quant.map_or(Ok(()), |quant| quant.runnable().map(|_| ())).or_else(usage)?;
    let model = source::open_decoder(&options.model, seed, context.reporter.shows_progress())?;
    let quant = options.quant.or(model.weights.native_quant()).unwrap_or(Quant::F16);
    model.weights.check_quant(quant).or_else(usage)?;
    let slot_tokens = slot_tokens(options.context, longest, model.shape.max_context)?;
    let (record, tokenizer, name) =
        (model_record(ModelDescription::of(&model))?, model.tokenizer.clone(), model.name.clone());
    context.note(format!("loading {name} at {quant}"));
    let (max_batch, prefill_chunk) = (options.max_batch, options.prefill_chunk);
    let by = (options.device, options.kernels);
    let (batch, limited_by_memory, engine_record) = serving(model, by, quant, (max_batch, slot_tokens, prefill_chunk))?;
    let slots = batch.slots();
    if limited_by_memory {
        context.warn(format!("memory allows {slots} places of {slot_tokens} tokens, not {max_batch}"));
    }
    Ok(RunningEngine {
        scheduler: Scheduler::start(batch, prefill_chunk)?,
        record: SchedulerRecord { slots, slot_tokens, prefill_chunk, limited_by_memory },
        engine: engine_record,
        model: record,
        tokenizer,
        quant,
        name,
    })
}

/// Positions of a place: those that were asked for, else those of the longest request that is planned.
fn slot_tokens(asked: Option<usize>, longest: Option<usize>, most: usize) -> Result<usize, JobError> {
    match (asked, longest) {
        (Some(asked), _) if asked > most => usage(format!("--context {asked}: the model has a context of {most}")),
        (Some(asked), _) => Ok(asked),
        (None, None) => Ok(USUAL_CONTEXT.min(most)),
        (None, Some(longest)) if longest > most => {
            usage(format!("prompts and answers of up to {longest} tokens exceed the model's context of {most}"))
        }
        (None, Some(longest)) => Ok((longest + AROUND).min(most)),
    }
}

/// The engine as the target of a load test.
pub(super) fn in_process(
    options: &ModelOptions,
    seed: u64,
    longest: Option<usize>,
    context: Context<'_>,
) -> Result<OpenedTarget, JobError> {
    let engine = start(options, seed, longest, context)?;
    let vocabulary = engine.tokenizer.clone().map(|tokenizer| Arc::new(Vocabulary::new(tokenizer)));
    let wording = match &vocabulary {
        Some(vocabulary) => Wording::Vocabulary(vocabulary.clone()),
        None => Wording::Tokens(engine.model.shape.vocab_size),
    };
    let vocab = engine.model.shape.vocab_size;
    let target = EngineTarget::new(engine.scheduler, engine.tokenizer.map(|tokenizer| Texts::of(tokenizer, vocab)));
    Ok(OpenedTarget {
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
        wording,
        vocabulary,
        is_here: true,
        scheduler: Some(engine.record),
        secrets: Vec::new(),
    })
}

/// Serves the model at the address that its options name, until it is stopped.
pub(super) fn behind_a_port(options: &ModelOptions, seed: u64, context: Context<'_>) -> Result<(), JobError> {
    let Some(address) = &options.serve else { return usage("--serve: no address") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // An address that is taken is said before a model is loaded.
    let listener = match runtime.block_on(tokio::net::TcpListener::bind(address)) {
        Ok(listener) => listener,
        Err(error) => return failed(format!("--serve {address}: {error}")),
    };
    let here = listener.local_addr()?;
    let engine = start(options, seed, None, context)?;
    let vocab = engine.model.shape.vocab_size;
    let texts = match engine.tokenizer {
        Some(tokenizer) => Texts::of(tokenizer, vocab),
        None => Texts::Words(vocab),
    };
    if matches!(texts, Texts::Words(_)) {
        context.note("random weights: every word of a prompt is a token");
    }
    let served = Arc::new(ServerState::new(engine.scheduler, texts, engine.name.clone()));
    let SchedulerRecord { slots, slot_tokens, .. } = engine.record;
    context.note(format!(
        "serving {} at http://{here}: {slots} places of {slot_tokens} tokens; Ctrl-C ends it",
        engine.name
    ));
    let stop = context.stop.clone();
    let stop = async move {
        while !stop.is_asked() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let served = runtime.block_on(serve::serve(listener, served, stop));
    // A long text that is being tokenized is for nobody now.
    runtime.shutdown_background();
    Ok(served?)
}
