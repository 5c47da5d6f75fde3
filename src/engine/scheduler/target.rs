//! The engine in process as the target of a load test.

use super::{Scheduler, Told};
use crate::engine::target::{Answer, Asking, CountedBy, FirstToken, RequestOutcome, Target};
use crate::engine::tokenizing::{Apart, TextError, Texts};
use crate::record::PhaseTimes;
use crate::workload::traffic::{Planned, Prompt};
use std::sync::Arc;
use std::time::Instant;

/// A scheduler, and how texts become what it takes.
pub struct EngineTarget {
    scheduler: Scheduler,
    texts: Option<Texts>,
    apart: Apart,
}

impl EngineTarget {
    /// Asks `scheduler`.
    pub fn new(scheduler: Scheduler, texts: Option<Texts>) -> Self {
        Self { scheduler, texts, apart: Apart::default() }
    }
}

/// The tokens of a prompt; the error says why it has none.
async fn tokens(prompt: Prompt, texts: Option<Texts>, apart: Apart, most: usize) -> Result<Vec<u32>, String> {
    match (prompt, texts) {
        (Prompt::Tokens(tokens), _) => Ok(tokens),
        (Prompt::Text(text), Some(texts)) => {
            apart.of(text.len(), move || texts.tokens(&text, most)).await?.map_err(|error| error.to_string())
        }
        (Prompt::Text(_), None) => Err(TextError::NoVocabulary.to_string()),
        (Prompt::Messages(_), _) => {
            Err("messages of a chat need a server with a chat template: --endpoint".to_string())
        }
    }
}

impl Target for EngineTarget {
    fn ask(&self, request: Planned, first: Arc<FirstToken>) -> Asking {
        let (scheduler, texts, apart) = (self.scheduler.clone(), self.texts.clone(), self.apart.clone());
        Box::pin(async move {
            let began = Instant::now();
            let prompt = match tokens(request.prompt, texts, apart, scheduler.slot_tokens).await {
                Ok(prompt) => prompt,
                Err(why) => return Answer::failed(RequestOutcome::EngineError, why),
            };
            let tokenize_s = began.elapsed().as_secs_f64();
            let prompt_tokens = Some(prompt.len());
            let mut told = scheduler.submit(prompt, request.gen_tokens);
            let mut answer = Answer { prompt_tokens, ..Answer::failed(RequestOutcome::Ok, "") };
            while let Some(what) = told.recv().await {
                match what {
                    Told::Token(_) => {
                        let now = Instant::now();
                        first.came(now);
                        answer.events.push(now);
                    }
                    Told::Done(phases) => {
                        answer.output_tokens = Some((answer.events.len(), CountedBy::Engine));
                        answer.phases = Some(PhaseTimes { tokenize_s, ..phases });
                        return answer;
                    }
                    Told::Failed(why) => {
                        return Answer { outcome: RequestOutcome::EngineError, message: why, ..answer };
                    }
                }
            }
            Answer { outcome: RequestOutcome::EngineError, message: "the engine has stopped".to_string(), ..answer }
        })
    }
}
