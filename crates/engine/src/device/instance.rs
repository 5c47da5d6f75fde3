//! Which cloud instance this is, from what the firmware says (DMI). No network is asked.

use super::cpu::read;
use crate::record::environment::InstanceRecord;
use std::path::Path;

/// The asset tag that Microsoft gives every Azure machine.
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Recognises the instance from `sys/class/dmi/id` under `root` (`/` but for tests).
pub fn recognise(root: &Path) -> InstanceRecord {
    let dmi = |name: &str| read(root.join("sys/class/dmi/id").join(name)).unwrap_or_default();
    let (vendor, product) = (dmi("sys_vendor"), dmi("product_name"));
    let provider = match vendor.as_str() {
        "Amazon EC2" => Some("aws"),
        "Google" => Some("gcp"),
        "Microsoft Corporation" if dmi("chassis_asset_tag") == AZURE_ASSET_TAG => Some("azure"),
        "OracleCloud.com" => Some("oci"),
        "DigitalOcean" => Some("digitalocean"),
        "Hetzner" => Some("hetzner"),
        "Scaleway" => Some("scaleway"),
        _ if dmi("chassis_asset_tag") == "OracleCloud.com" => Some("oci"),
        _ => None,
    };
    // Only Amazon puts the type where the machine can read it.
    let instance_type = match provider {
        Some("aws") if product.contains('.') => Some(product.clone()),
        _ => None,
    };
    let known_from = match (provider, &instance_type) {
        (Some(_), Some(_)) => "dmi".to_string(),
        (Some(provider), None) => {
            format!("DMI names the provider ({provider}) but not the instance type: name it with --as {provider}:TYPE")
        }
        (None, _) if vendor.is_empty() => "no DMI: not a known cloud, or a container".to_string(),
        (None, _) => format!("DMI vendor `{vendor}` is not a known cloud"),
    };
    InstanceRecord { provider: provider.map(str::to_string), instance_type, known_from, usd_per_hour: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(files: &[(&str, &str)]) -> InstanceRecord {
        let root = tempfile::tempdir().unwrap();
        let dmi = root.path().join("sys/class/dmi/id");
        std::fs::create_dir_all(&dmi).unwrap();
        for (name, text) in files {
            std::fs::write(dmi.join(name), format!("{text}\n")).unwrap();
        }
        recognise(root.path())
    }

    #[test]
    fn amazon_names_the_type() {
        let found = recognised(&[("sys_vendor", "Amazon EC2"), ("product_name", "m7a.large")]);
        assert_eq!((found.provider.as_deref(), found.instance_type.as_deref()), (Some("aws"), Some("m7a.large")));
    }

    #[test]
    fn google_and_azure_only_name_themselves() {
        let google = recognised(&[("sys_vendor", "Google"), ("product_name", "Google Compute Engine")]);
        assert_eq!((google.provider.as_deref(), google.instance_type), (Some("gcp"), None));
        assert!(google.known_from.contains("--as gcp:TYPE"));
        let azure = recognised(&[("sys_vendor", "Microsoft Corporation"), ("chassis_asset_tag", AZURE_ASSET_TAG)]);
        assert_eq!(azure.provider.as_deref(), Some("azure"));
        let hyperv = recognised(&[("sys_vendor", "Microsoft Corporation")]);
        assert_eq!(hyperv.provider, None);
    }

    #[test]
    fn anything_else_says_why_it_is_not_known() {
        assert!(recognised(&[]).known_from.starts_with("no DMI"));
        assert!(recognised(&[("sys_vendor", "QEMU")]).known_from.contains("`QEMU`"));
    }
}
