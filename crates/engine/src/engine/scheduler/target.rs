//! The engine in process as the target of a load test.

use super::{Scheduler, SequenceEvent};
use crate::engine::target::{Answer, CountedBy, FirstToken, PendingRequest, RequestOutcome, Target};
use crate::engine::tokenizing::{LongTextLimiter, TextError, Texts};
use crate::record::PhaseTimes;
use crate::workload::traffic::{PlannedRequest, Prompt};
use std::sync::Arc;
use std::time::Instant;

/// A scheduler, and how texts become what it takes.
pub struct EngineTarget {
    scheduler: Scheduler,
    texts: Option<Texts>,
    limiter: LongTextLimiter,
}

impl EngineTarget {
    /// Asks `scheduler`.
    pub fn new(scheduler: Scheduler, texts: Option<Texts>) -> Self {
        Self { scheduler, texts, limiter: LongTextLimiter::default() }
    }
}

/// The tokens of a prompt; the error says why it has none.
async fn tokens(
    prompt: Prompt,
    texts: Option<Texts>,
    limiter: LongTextLimiter,
    most: usize,
) -> Result<Vec<u32>, String> {
    match (prompt, texts) {
        (Prompt::Tokens(tokens), _) => Ok(tokens),
        (Prompt::Text(text), Some(texts)) => {
            limiter.of(text.len(), move || texts.tokens(&text, most)).await?.map_err(|error| error.to_string())
        }
        (Prompt::Text(_), None) => Err(TextError::NoVocabulary.to_string()),
        (Prompt::Messages(_), _) => {
            Err("messages of a chat need a server with a chat template: --endpoint".to_string())
        }
    }
}

impl Target for EngineTarget {
    fn ask(&self, request: PlannedRequest, first: Arc<FirstToken>) -> PendingRequest {
        let (scheduler, texts, limiter) = (self.scheduler.clone(), self.texts.clone(), self.limiter.clone());
        Box::pin(async move {
            let began = Instant::now();
            let prompt = match tokens(request.prompt, texts, limiter, scheduler.slot_tokens).await {
                Ok(prompt) => prompt,
                Err(why) => return Answer::failed(RequestOutcome::EngineError, why),
            };
            let tokenize_s = began.elapsed().as_secs_f64();
            let prompt_tokens = Some(prompt.len());
            let mut events = scheduler.submit(prompt, request.gen_tokens);
            let mut answer = Answer { prompt_tokens, ..Answer::failed(RequestOutcome::Ok, "") };
            while let Some(what) = events.recv().await {
                match what {
                    SequenceEvent::Token(_) => {
                        let now = Instant::now();
                        first.came(now);
                        answer.events.push(now);
                    }
                    SequenceEvent::Done(phases) => {
                        answer.output_tokens = Some((answer.events.len(), CountedBy::Engine));
                        answer.phases = Some(PhaseTimes { tokenize_s, ..phases });
                        return answer;
                    }
                    SequenceEvent::Failed(why) => {
                        return Answer { outcome: RequestOutcome::EngineError, message: why, ..answer };
                    }
                }
            }
            Answer { outcome: RequestOutcome::EngineError, message: "the engine has stopped".to_string(), ..answer }
        })
    }
}
