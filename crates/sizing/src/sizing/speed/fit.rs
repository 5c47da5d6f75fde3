//! Whether weights and cache fit a memory. This comes before any question of speed.

use crate::units::Bytes;
use crate::workload::{CacheType, Case, ModelShape};

/// Memory that a GPU keeps for itself, the framework and activations (AIConfigurator's figure).
pub const GPU_RESERVE: Bytes = Bytes(3.5e9);
/// Memory that a host keeps for the system.
pub const HOST_RESERVE: Bytes = Bytes(1e9);

/// What a case keeps keys and values in, on whatever device: what it names, else what engines usually keep.
pub fn cache_of(case: &Case) -> CacheType {
    case.cache.unwrap_or(CacheType::usual(case.quant))
}

/// Memory that a case needs: weights, its cache at its longest, and the reserve of the device.
pub fn needed(shape: &ModelShape, case: &Case, reserve: Bytes) -> Bytes {
    shape.weight_bytes(case.quant) + shape.cache_bytes(case.batch, case.context(), cache_of(case)) + reserve
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Preset, Quant};

    #[test]
    fn an_8b_model_in_f16_needs_more_than_a_16_gb_card() {
        let shape = Preset::named("llama-3.1-8b").unwrap().shape;
        let case = Case::new(Quant::F16, 1, 512, 128);
        let need = needed(&shape, &case, GPU_RESERVE).0;
        assert!((19.5e9..20e9).contains(&need), "{need}");
        let int4 = Case { quant: Quant::Int4, ..case };
        assert!(needed(&shape, &int4, GPU_RESERVE).0 < 8.5e9);
    }

    #[test]
    fn the_cache_counts_in_the_precision_that_is_kept() {
        // 64 x 8,016 tokens: 11.0 GiB of cache in 16 bits, where 32 bits would not fit 16 GiB.
        let shape = Preset::named("smollm2-135m").unwrap().shape;
        let case = Case::new(Quant::F16, 64, 8000, 16);
        let gib = |case: &Case| needed(&shape, case, HOST_RESERVE).0 / 1024f64.powi(3);
        assert!((12.0..12.4).contains(&gib(&case)), "{}", gib(&case));
        let small = Case { cache: Some(CacheType::Int8), ..case };
        assert!(gib(&small) < 7.5, "{}", gib(&small));
        let whole = Case { cache: Some(CacheType::F32), ..case };
        assert!(gib(&whole) > 23.0);
    }
}
