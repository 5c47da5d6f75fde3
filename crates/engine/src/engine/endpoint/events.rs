//! Reading a streamed answer: when each event with text came, what the server says of tokens, and how it ended.

use super::delivery::{self, after_first};
use super::fault::{one_line, told};
use super::field_text::FieldText;
use super::finish::Finish;
use super::json_repair::repaired;
use super::sse::{Event, Events, Fault};
use super::tokens::{TokenCounts, Usage};
use super::unpack::{PART, Unpack};
use crate::engine::target::{Answer, AnswerWarning, CountedBy, FirstToken, RequestOutcome, shortened};
use crate::record::PhaseTimes;
use crate::workload::traffic::prompts::Vocabulary;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long the end of a stream is waited for behind the end of its answer.
const PATIENCE_BEHIND: Duration = Duration::from_millis(500);
/// The most of a body that is no stream which is read.
const MOST_OF_A_BODY: usize = 1 << 20;
/// The beginnings of texts in which a model thinks aloud.
const THOUGHTS: [&str; 3] = ["<think", "<reason", "<|channel|>"];
/// Bytes of the beginning that are looked at for them.
const BEGINNING: usize = 16;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Value>,
    error: Option<Value>,
    timings: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    /// What has been said so far, of servers that send all of it each time.
    #[serde(borrow)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: FieldText<'a>,
    #[serde(borrow, default)]
    finish_reason: FieldText<'a>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: FieldText<'a>,
    /// Thinking is generated too; vLLM sends it under both of its names.
    #[serde(borrow, default)]
    reasoning_content: FieldText<'a>,
    #[serde(borrow, default)]
    reasoning: FieldText<'a>,
    #[serde(borrow, default)]
    tool_calls: FieldText<'a>,
    #[serde(borrow, default)]
    function_call: FieldText<'a>,
    #[serde(borrow, default)]
    refusal: FieldText<'a>,
    #[serde(borrow, default)]
    audio: FieldText<'a>,
    error: Option<Value>,
}

/// How an answer is read.
#[derive(Clone, Copy)]
pub(super) struct ReadOptions<'a> {
    pub(super) vocabulary: Option<&'a Vocabulary>,
    pub(super) first: &'a FirstToken,
    /// Tokens that were asked for.
    pub(super) asked: usize,
    /// When it was asked.
    pub(super) at: Instant,
}

/// How an answer ended, as far as the server has said.
#[derive(Default)]
struct Ending {
    /// A reason that ends an answer.
    finished: bool,
    /// `[DONE]`.
    done: bool,
    /// The usage that comes behind the last token.
    used: bool,
    filtered: bool,
    /// A reason that says that the server could not go on.
    failed: Option<String>,
    /// A reason that is not known.
    unknown: Option<String>,
}

/// An answer as far as it has come.
struct AnswerReader<'a> {
    answer: Answer,
    options: ReadOptions<'a>,
    events: Vec<delivery::Event>,
    text: String,
    /// The beginning of the text.
    begins: String,
    bytes: usize,
    /// Bytes of what was said so far, where a server repeats it.
    repeated: usize,
    thought: bool,
    usage: Usage,
    ending: Ending,
    timings: Option<Value>,
}

/// What a body turns out to be by its first character.
enum BodyKind {
    Unknown,
    Stream,
    /// Something else: it is kept to be looked at.
    Whole(Vec<u8>),
}

type AnswerFault = (RequestOutcome, String);

/// Reads the answer to its end.
pub(super) async fn read(response: hyper::Response<Incoming>, options: ReadOptions<'_>) -> Answer {
    let mut unpack = match Unpack::of(response.headers()) {
        Ok(unpack) => unpack,
        Err(why) => return Answer::failed(RequestOutcome::Malformed, why),
    };
    let mut reading = AnswerReader::new(options);
    let (mut events, mut kind) = (Events::default(), BodyKind::Unknown);
    let mut body = response.into_body();
    loop {
        // Behind the end of the answer only the end of the stream is waited for, so that the connection can be used again;
        // a server that holds it open or breaks it there has answered all the same.
        let frame = if reading.ending.done {
            tokio::time::timeout(PATIENCE_BEHIND, body.frame()).await.ok().flatten().filter(Result::is_ok)
        } else {
            body.frame().await
        };
        let Some(frame) = frame else { break };
        let data = match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => data,
            Ok(Err(_)) => continue,
            Err(error) => return reading.broken(RequestOutcome::Truncated, format!("the stream broke off: {error}")),
        };
        let now = Instant::now();
        let taken = match unpack {
            Unpack::Plain => reading.take(&data, &mut kind, &mut events, now),
            _ => data.chunks(PART).try_for_each(|part| {
                let data = unpack.push(part).map_err(|why| (RequestOutcome::Malformed, why))?;
                reading.take(&data, &mut kind, &mut events, now)
            }),
        };
        if let Err((outcome, why)) = taken {
            return reading.broken(outcome, why);
        }
    }
    if let BodyKind::Whole(body) = kind {
        let (outcome, why) = not_a_stream(&body);
        return reading.broken(outcome, why);
    }
    let mut wrong = None;
    let now = Instant::now();
    // What the stream broke off within is no event that could be wrong.
    let _ = events.finish(|event| {
        wrong = wrong.take().or(reading.event(event, now).filter(|(outcome, _)| *outcome != RequestOutcome::Malformed));
    });
    match wrong {
        Some((outcome, why)) => reading.broken(outcome, why),
        None => reading.ended(),
    }
}

/// What a body is that came instead of a stream.
fn not_a_stream(body: &[u8]) -> AnswerFault {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let Ok(value) = serde_json::from_str::<Value>(repaired(text).as_deref().unwrap_or(text)) else {
        let what = if text.lines().next().is_some_and(|line| serde_json::from_str::<Value>(line.trim()).is_ok()) {
            "lines of JSON instead of a stream of events (an API that is not OpenAI's?)"
        } else {
            "a text instead of a stream"
        };
        return (RequestOutcome::Malformed, format!("{what}: {}", one_line(text)));
    };
    match told(&value).filter(|_| !value.is_array()) {
        Some(error) => (RequestOutcome::ServerError, error),
        None => {
            let why = "the server sent its answer at once although a stream was asked for";
            (RequestOutcome::NotStreamed, why.to_string())
        }
    }
}

impl<'a> AnswerReader<'a> {
    fn new(options: ReadOptions<'a>) -> Self {
        Self {
            answer: Answer::failed(RequestOutcome::Ok, ""),
            options,
            events: Vec::new(),
            text: String::new(),
            begins: String::new(),
            bytes: 0,
            repeated: 0,
            thought: false,
            usage: Usage::default(),
            ending: Ending::default(),
            timings: None,
        }
    }

    /// Takes the next bytes; the error is what is wrong with them.
    fn take(&mut self, data: &[u8], kind: &mut BodyKind, events: &mut Events, now: Instant) -> Result<(), AnswerFault> {
        if let BodyKind::Unknown = kind {
            let marked = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
            match marked.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => {}
                // Servers send streams under any content type, and anything else as a stream.
                Some(b'{' | b'[' | b'<') => *kind = BodyKind::Whole(Vec::new()),
                Some(_) => *kind = BodyKind::Stream,
            }
        }
        if let BodyKind::Whole(body) = kind {
            let room = MOST_OF_A_BODY.saturating_sub(body.len());
            body.extend_from_slice(&data[..data.len().min(room)]);
            return Ok(());
        }
        let mut wrong = None;
        let read = events.push(data, |event| wrong = wrong.take().or(self.event(event, now)));
        let fault = read.err().map(|fault| match fault {
            Fault::TooLong => (RequestOutcome::TooLong, "a line that never ends".to_string()),
            Fault::BadUtf8 => (RequestOutcome::BadUtf8, "a line that is not UTF-8".to_string()),
        });
        wrong.or(fault).map_or(Ok(()), Err)
    }

    /// Takes an event; gives what is wrong with it.
    fn event(&mut self, event: Event<'_>, now: Instant) -> Option<AnswerFault> {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.ending.done = true;
            return None;
        }
        if ["error", "exception"].contains(&event.name.to_lowercase().as_str()) {
            let value: Option<Value> = serde_json::from_str(data).ok();
            let said = value.as_ref().map_or(one_line(data), |v| told(v).unwrap_or_else(|| one_line(&v.to_string())));
            let said = if said.is_empty() { "an event of the name `error` without a word".to_string() } else { said };
            return Some((RequestOutcome::ServerError, said));
        }
        if data.is_empty() {
            return None;
        }
        match serde_json::from_str::<Chunk<'_>>(data) {
            Ok(chunk) => self.chunk(chunk, data, now),
            Err(error) => self.odd_event(data, &error, now),
        }
    }

    /// An event that is not written as the API says: what can be read of it is.
    fn odd_event(&mut self, data: &str, error: &serde_json::Error, now: Instant) -> Option<AnswerFault> {
        let put_right = repaired(data);
        let value: Option<Value> = serde_json::from_str(put_right.as_deref().unwrap_or(data)).ok();
        if let Some(value) = &value {
            if let Some(error) = told(value) {
                return Some((RequestOutcome::ServerError, error));
            }
            // Keys that come twice, too.
            let text = value.to_string();
            if let Ok(chunk) = serde_json::from_str::<Chunk<'_>>(&text) {
                return self.chunk(chunk, &text, now);
            }
        } else if data.contains('\n') {
            // Two events between which the empty line is missing.
            let lines = data.lines().map(str::trim).filter(|line| !line.is_empty());
            return lines.fold(None, |wrong, data| wrong.or_else(|| self.event(Event { name: "", data }, now)));
        }
        let lower = data.to_lowercase();
        let is_text = value.is_none() && !data.starts_with(['{', '[']);
        if is_text && ["error", "exception", "failed", "failure"].iter().any(|word| lower.contains(word)) {
            return Some((RequestOutcome::ServerError, one_line(data)));
        }
        let said = if is_text { format!(": {}", one_line(data)) } else { String::new() };
        Some((RequestOutcome::Malformed, format!("an event that is not JSON of the API: {error}{said}")))
    }

    fn chunk(&mut self, chunk: Chunk<'_>, data: &str, now: Instant) -> Option<AnswerFault> {
        let choices = chunk.choices.unwrap_or_default();
        let within = |choice: &Choice<'_>| {
            choice.error.is_some() || choice.delta.as_ref().is_some_and(|delta| delta.error.is_some())
        };
        // Few events have no choices: those are looked at closely.
        if (choices.is_empty() || chunk.error.is_some() || choices.iter().any(within))
            && let Some(error) = serde_json::from_str(data).ok().as_ref().and_then(told)
        {
            return Some((RequestOutcome::ServerError, error));
        }
        let alone = choices.is_empty();
        let before = self.bytes;
        choices.into_iter().for_each(|choice| self.choice(choice));
        if self.bytes > before {
            self.options.first.came(now);
            self.events.push((now, self.bytes - before));
            self.ending.used = false;
        }
        if let Some(usage) = chunk.usage.filter(Value::is_object) {
            let usage = Usage::of(&usage);
            self.ending.used |= alone && usage.completion.is_some_and(|count| count > 0) && !self.events.is_empty();
            self.usage = Usage {
                prompt: usage.prompt.or(self.usage.prompt),
                completion: usage.completion.or(self.usage.completion),
                reasoning: usage.reasoning.or(self.usage.reasoning),
                total: usage.total.or(self.usage.total),
            };
        }
        self.timings = chunk.timings.or(self.timings.take());
        None
    }

    fn choice(&mut self, choice: Choice<'_>) {
        self.finish(&choice.finish_reason.0);
        // All of it each time: what is new stands behind what was there. Others repeat all of it once, behind its parts.
        if let (Some(message), None, true) = (&choice.message, &choice.delta, self.bytes == self.repeated) {
            let content = message.content.0.as_ref();
            let new = content.get(self.repeated..).unwrap_or("");
            self.repeated = self.repeated.max(content.len());
            self.add(new);
        }
        self.add(&choice.text.0);
        let Some(delta) = choice.delta else { return };
        let reasoning = [&delta.reasoning_content, &delta.reasoning].into_iter().find(|words| !words.0.is_empty());
        if let Some(reasoning) = reasoning {
            self.thought = true;
            self.add(&reasoning.0);
        }
        for words in [&delta.content, &delta.tool_calls, &delta.function_call, &delta.refusal, &delta.audio] {
            self.add(&words.0);
        }
    }

    fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.bytes += text.len();
        if self.begins.len() < BEGINNING {
            let left = BEGINNING - self.begins.len();
            self.begins.extend(text.chars().take(left));
        }
        if self.options.vocabulary.is_some() {
            self.text.push_str(text);
        }
    }

    fn finish(&mut self, word: &str) {
        match Finish::of(word) {
            Finish::GoesOn => {}
            Finish::Ends => self.ending.finished = true,
            Finish::Filtered => (self.ending.filtered, self.ending.finished) = (true, true),
            Finish::Failed => self.ending.failed = Some(one_line(word)),
            Finish::Unknown => self.ending.unknown = Some(one_line(word)),
        }
    }

    fn broken(mut self, outcome: RequestOutcome, message: String) -> Answer {
        self.answer.events = self.events.iter().map(|(at, _)| *at).collect();
        self.answer.outcome = outcome;
        self.answer.message = shortened(&message);
        self.answer
    }

    fn ended(mut self) -> Answer {
        let Ending { finished, done, used, filtered, .. } = self.ending;
        if let Some(reason) = self.ending.failed.take() {
            let why = format!("the server ended the answer with the finish_reason `{reason}`");
            return self.broken(RequestOutcome::ServerError, why);
        }
        if !(finished || done || used) {
            let unknown = self.ending.unknown.take().map_or(String::new(), |reason| {
                format!(": the finish_reason `{reason}` is not known, and neither usage nor [DONE] came behind it")
            });
            return self.broken(RequestOutcome::Truncated, format!("the stream ended before the answer did{unknown}"));
        }
        if filtered {
            let why = "the server's content filter ended the answer".to_string();
            return self.broken(RequestOutcome::Filtered, why);
        }
        if self.events.is_empty() {
            return self.broken(RequestOutcome::Empty, "the answer has no text".to_string());
        }
        self.count();
        self.answer.phases = self.phases();
        self.broken(RequestOutcome::Ok, String::new())
    }

    /// Holds the counts against each other, and the tokens against when they came.
    fn count(&mut self) {
        let tokenizer = self.options.vocabulary.and_then(|vocabulary| vocabulary.count(&self.text));
        let begins = self.begins.trim_start().to_lowercase();
        let came = TokenCounts {
            asked: self.options.asked,
            events: self.events.len(),
            bytes: self.bytes,
            thought: self.thought || THOUGHTS.iter().any(|thought| begins.starts_with(thought)),
            usage: self.usage,
            tokenizer,
        };
        let (counted, mut odd) = came.tokens();
        if let Some((tokens, _)) = counted.filter(|(tokens, _)| *tokens > 1) {
            let last = self.events.last().map_or(self.options.at, |(at, _)| *at);
            let waited = last.saturating_duration_since(self.options.at);
            self.answer.after_first = after_first(&self.events, tokens, waited);
            if self.answer.after_first.is_none() {
                odd.push(AnswerWarning::HandedOver);
            }
        }
        let theirs = self.usage.completion;
        let differs = counted.is_none_or(|(tokens, by)| by != CountedBy::Server || Some(tokens) != theirs);
        self.answer.server_tokens = theirs.filter(|_| tokenizer.is_some() || differs);
        self.answer.text_tokens = tokenizer;
        self.answer.output_tokens = counted;
        self.answer.prompt_tokens = self.usage.prompt;
        self.answer.warnings = odd;
    }

    /// What llama.cpp's server says of where the time went, and ours with two more.
    fn phases(&self) -> Option<PhaseTimes> {
        let timings = self.timings.as_ref()?;
        let (first, last) = (self.events.first()?, self.events.last()?);
        timings.get("predicted_ms").and_then(Value::as_f64)?;
        let seconds = |key: &str| {
            let ms = timings.get(key).and_then(Value::as_f64).filter(|ms| ms.is_finite() && *ms >= 0.0);
            ms.unwrap_or(0.0) * 1e-3
        };
        Some(PhaseTimes {
            tokenize_s: seconds("tokenize_ms"),
            queue_s: seconds("queue_ms"),
            prefill_s: seconds("prompt_ms"),
            decode_s: (last.0 - first.0).as_secs_f64(),
            ..PhaseTimes::default()
        })
    }
}
