//! Whether weights and cache fit a memory. This comes before any question of speed.

use crate::units::Bytes;
use crate::workload::{Case, ModelShape};

/// Memory that a GPU keeps for itself, the framework and activations (AIConfigurator's figure).
pub const GPU_RESERVE: Bytes = Bytes(3.5e9);
/// Memory that a host keeps for the system.
pub const HOST_RESERVE: Bytes = Bytes(1e9);

/// Memory that a case needs on a device that stores a number of the cache in `element_bytes`.
pub fn needed(shape: &ModelShape, case: &Case, element_bytes: usize, reserve: Bytes) -> Bytes {
    shape.weight_bytes(case.quant) + shape.kv_bytes(case.batch, case.context(), element_bytes) + reserve
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Preset, Quant};

    #[test]
    fn an_8b_model_in_f16_needs_more_than_a_16_gb_card() {
        let shape = Preset::named("llama-3.1-8b").unwrap().shape;
        let case = Case::new(Quant::F16, 1, 512, 128);
        let need = needed(&shape, &case, 2, GPU_RESERVE).0;
        assert!((19.5e9..20e9).contains(&need), "{need}");
        let int4 = Case { quant: Quant::Int4, ..case };
        assert!(needed(&shape, &int4, 2, GPU_RESERVE).0 < 8.5e9);
    }
}
