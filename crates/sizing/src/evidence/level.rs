//! The level of quantization that a file names, in a word of its own or within the name of a model or a file; and whether
//! the bytes that it counts bear it out.

use crate::workload::Quant;

/// Words that together name one level, at most: `q4-k-m` is three.
const MOST_WORDS: usize = 4;

/// The level that stands in a name: `Llama-3.1-8B-Instruct-FP8`, `llama 7B mostly Q4_0`, `Q4_K - Medium`. Of several, the one
/// of the most words, then one that is quantized, then the last: `fp16-AWQ` is AWQ.
pub fn within(name: &str) -> Option<Quant> {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut best: Option<(usize, bool, usize, Quant)> = None;
    for count in 1..=MOST_WORDS.min(words.len()) {
        for (place, window) in words.windows(count).enumerate() {
            let Some(quant) = of_words(window) else { continue };
            let rank = (count, !is_float(quant), place, quant);
            if best.is_none_or(|best| (best.0, best.1, best.2) < (rank.0, rank.1, rank.2)) {
                best = Some(rank);
            }
        }
    }
    best.map(|(.., quant)| quant)
}

fn of_words(words: &[&str]) -> Option<Quant> {
    let text = words.join("-");
    // Words that mean something else as often as a level.
    if matches!(text.as_str(), "float" | "half" | "f8" | "f4" | "bitsandbytes") {
        return None;
    }
    match text.as_str() {
        // What GGUF files are called whose weights are in blocks of 32: the name of the type, not of a level here.
        "q4-0" => Some(Quant::Int4),
        _ => text.parse().ok(),
    }
}

fn is_float(quant: Quant) -> bool {
    matches!(quant, Quant::F32 | Quant::Bf16 | Quant::F16)
}

/// The level of a GGUF file: what unsloth calls its own mixtures by the file's name, else the type that the file has.
pub(crate) fn of_gguf(file_name: &str, kind: &str, bits: Option<f64>) -> Option<Quant> {
    let upper = file_name.to_uppercase();
    let own = upper.split(['/', '\\']).next_back().unwrap_or("").split("UD-").nth(1).map(|rest| {
        let rest = rest.strip_suffix(".GGUF").unwrap_or(rest);
        // Parts of a file are numbered behind the level.
        rest.split("-0").next().unwrap_or(rest).split('.').next().unwrap_or(rest).to_string()
    });
    match own.filter(|name| within(name).is_some()) {
        Some(name) => Quant::of_file(&format!("ud-{name}"), bits),
        None => within(kind),
    }
}

/// Parameters from which on the rows of a model are long enough for every block, and its embedding a small share.
const LARGE: f64 = 3e9;

/// What a level is where a file says how many bytes its weights take: itself, if they bear it out, else what they say, with
/// a remark. A mixture keeps some tensors in more bits and never one in fewer, and in small models rows that no block divides
/// take up to 8.5 bits.
pub(crate) fn borne_out(named: Option<Quant>, bytes: f64, parameters: f64) -> (Option<Quant>, Option<String>) {
    let Some(bits) = bits_of(bytes, parameters) else { return (named, None) };
    let Some((quant, nominal)) = named.and_then(|quant| Some((quant, quant.bits_per_weight()?))) else {
        return (named, None);
    };
    let most = match (is_float(quant), parameters >= LARGE) {
        (true, _) => nominal * 1.1,
        (false, true) => (nominal * 1.5).max(nominal + 1.2),
        (false, false) => (nominal * 1.5).max(9.5),
    };
    if (nominal * 0.93..=most).contains(&bits) {
        return (named, None);
    }
    let told = Quant::of_file("mixed", Some(bits));
    let remark =
        format!("called {quant}, which takes {nominal:.1} bits a weight; its bytes are {bits:.2} bits a weight");
    (told, Some(remark))
}

/// Bits that a weight takes in the mean.
pub(crate) fn bits_of(bytes: f64, parameters: f64) -> Option<f64> {
    Some(bytes * 8.0 / parameters).filter(|bits| bits.is_finite() && (0.5..=64.0).contains(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_within_names() {
        for (name, level) in [
            ("example/Llama-3.1-8B-Instruct-FP8", "fp8"),
            ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "fp8"),
            ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "gptq"),
            ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "w8a16"),
            ("TheBloke/Llama-2-7B-fp16-AWQ", "awq"),
            ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "w4a16"),
            ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "w8a8"),
            ("unsloth/Llama-3.3-70B-Instruct-bnb-4bit", "bnb-nf4"),
            ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "nvfp4"),
            ("llama 7B mostly Q4_0", "int4"),
            ("llama 7B Q4_K - Medium", "int4"),
            ("qwen3 8B IQ4_XS - 4.25 bpw", "iq4_xs"),
            ("llama 8B IQ2_XXS - 2.0625 bpw", "iq2_xxs"),
            ("gpt-oss 20B MXFP4 MoE", "mxfp4"),
            ("llama 8B Q5_1", "q5_1"),
            ("llama 8B TQ1_0 - 1.69 bpw ternary", "tq1_0"),
            ("llama 8B Q8_0", "int8"),
            ("llama 8B BF16", "bf16"),
            ("torch.bfloat16", "bf16"),
            ("float32", "f32"),
        ] {
            assert_eq!(within(name).map(Quant::name), Some(level), "{name}");
        }
        for name in ["meta-llama/Llama-3.1-8B-Instruct", "google/gemma-2-2b-it", "mlx-community/x-4bit", "auto", ""] {
            assert_eq!(within(name), None, "{name}");
        }
    }

    #[test]
    fn unsloth_s_mixtures_keep_their_names() {
        let of = |file: &str| of_gguf(file, "qwen3moe 30B.A3B Q4_K - Medium", Some(4.637)).unwrap().name();
        assert_eq!(of("models/Qwen3-30B-A3B-UD-Q4_K_XL.gguf"), "ud-q4_k_xl@4.64");
        assert_eq!(of("x-UD-IQ1_S-00001-of-00002.gguf"), "ud-iq1_s@4.64");
        assert_eq!(of("Qwen3-30B-A3B-Q4_K_M.gguf"), "int4");
        assert_eq!(of("STUD-ent.gguf"), "int4", "a part of a word is no level");
    }

    #[test]
    fn bytes_outweigh_a_name_that_they_do_not_bear_out() {
        let told = |name: &str, bytes: f64, parameters: f64| {
            let (quant, remark) = borne_out(within(name), bytes, parameters);
            (quant.unwrap().name(), remark.is_some())
        };
        assert_eq!(told("F16", 4.5 / 8.0 * 7e9, 7e9), ("mixed@4.50", true));
        assert_eq!(told("BF16", 13.8e9, 20.9e9), ("mixed@5.28", true));
        assert_eq!(told("F16", 13.5e9, 6.74e9), ("f16", false));
        assert_eq!(told("Q4_K", 4_080_263_168.0, 6_738_415_616.0), ("int4", false));
        // A small model whose rows no block divides.
        assert_eq!(told("Q4_K", 103_668_480.0, 134_515_008.0), ("int4", false));
        assert_eq!(told("Q4_K", 13.5e9, 6.74e9), ("mixed@16.02", true));
        assert_eq!(told("Q8_0", 3.8e9, 6.74e9), ("mixed@4.51", true));
        assert_eq!(borne_out(None, 1.0, 1.0), (None, None));
    }
}
