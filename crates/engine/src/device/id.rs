//! Names of devices: `cpu`, `cuda:0`; and lists of them, as a command line has them.

use super::cuda::{self, CudaError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A device that something can be measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// All of the CPUs that the process may use.
    Cpu,
    /// An NVIDIA card, by its number among those that the driver shows.
    Cuda(usize),
}

/// Why a list of devices means none.
#[derive(Debug, Error)]
pub enum DeviceListError {
    /// It is not the name of a device.
    #[error("{0}: it is cpu, cuda:0 or another number, cuda for every card, all, or several with commas between")]
    Unknown(String),
    /// The cards cannot be counted.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl DeviceId {
    /// The card's number.
    pub fn card(self) -> Option<usize> {
        match self {
            Self::Cpu => None,
            Self::Cuda(index) => Some(index),
        }
    }

    /// The devices that `text` means, each once and in its order: `cuda` is every card, `all` the CPU and every card.
    /// Without a driver, `all` is the CPU, and the second value says why.
    pub fn list(text: &str) -> Result<(Vec<Self>, Option<String>), DeviceListError> {
        Self::list_with(text, cuda::count)
    }

    fn list_with(
        text: &str,
        count: impl Fn() -> Result<usize, CudaError>,
    ) -> Result<(Vec<Self>, Option<String>), DeviceListError> {
        let (mut devices, mut remark) = (Vec::new(), None);
        let cards = |count: usize| (0..count).map(Self::Cuda);
        for name in text.split(',').map(str::trim) {
            match name {
                "all" => {
                    devices.push(Self::Cpu);
                    match count() {
                        Ok(0) => remark = Some("the driver is there and sees no card".to_string()),
                        Ok(count) => devices.extend(cards(count)),
                        Err(why) => remark = Some(why.to_string()),
                    }
                }
                "cuda" => match count()? {
                    0 => return Err(CudaError::Missing("the driver is there and sees no card".to_string()).into()),
                    count => devices.extend(cards(count)),
                },
                _ => devices.push(name.parse()?),
            }
        }
        let mut seen = Vec::new();
        devices.retain(|device| !seen.contains(device) && (seen.push(*device), true).1);
        Ok((devices, remark))
    }
}

impl FromStr for DeviceId {
    type Err = DeviceListError;
    fn from_str(text: &str) -> Result<Self, DeviceListError> {
        let card = text.strip_prefix("cuda:").and_then(|index| index.parse().ok());
        match (text, card) {
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(index)) => Ok(Self::Cuda(index)),
            _ => Err(DeviceListError::Unknown(text.to_string())),
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceId::{Cpu, Cuda};
    use super::*;

    #[test]
    fn names_are_read_back() {
        for device in [Cpu, Cuda(0), Cuda(12)] {
            assert_eq!(device.to_string().parse::<DeviceId>().unwrap(), device);
        }
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU "] {
            assert!(wrong.parse::<DeviceId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_is_every_device_and_never_silently_fewer() {
        let two = || Ok(2);
        let none = || Err(CudaError::Missing("no NVIDIA driver".into()));
        assert_eq!(DeviceId::list_with("all", two).unwrap(), (vec![Cpu, Cuda(0), Cuda(1)], None));
        assert_eq!(DeviceId::list_with("cuda", two).unwrap().0, [Cuda(0), Cuda(1)]);
        assert_eq!(DeviceId::list_with("cuda:1, cpu,cuda:1,cuda", two).unwrap().0, [Cuda(1), Cpu, Cuda(0)]);
        let (devices, remark) = DeviceId::list_with("all", none).unwrap();
        assert_eq!((devices, remark.as_deref()), (vec![Cpu], Some("no NVIDIA driver")));
        assert!(DeviceId::list_with("cuda", none).is_err() && DeviceId::list_with("cuda", || Ok(0)).is_err());
        assert!(DeviceId::list_with("all", || Ok(0)).unwrap().1.is_some());
        assert!(DeviceId::list_with("cuda:0,", two).is_err());
    }
}
