//! A byte-level BPE tokenizer that knows each word of the chronicle as one token.

use anyhow::{Context, Result, anyhow};
use tokenizers::decoders::byte_level::ByteLevel as Decoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer, TokenizerBuilder};

pub const BOS: &str = "<s>";
pub const EOS: &str = "</s>";

/// Trains on `text`: with merges enough, every word ends as one token.
pub fn train(text: &str) -> Result<Tokenizer> {
    let fail = |e: tokenizers::Error| anyhow!("the tokenizer cannot be trained: {e}");
    let special = |word: &str| AddedToken::from(word, true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(1024)
        .show_progress(false)
        .special_tokens(vec![special(BOS), special(EOS)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer = TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, Decoder>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_decoder(Some(Decoder::new(false, true, true)))
        .build()
        .map_err(fail)?;
    tokenizer.train(&mut trainer, text.split_inclusive('\n')).map_err(fail)?;
    let id = tokenizer.token_to_id(BOS).with_context(|| format!("{BOS} is not in the vocabulary"))?;
    let template = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(|e| anyhow!("{e}"))?
        .special_tokens(vec![(BOS, id)])
        .build()?;
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Template(template)));
    Ok(tokenizer.into())
}
