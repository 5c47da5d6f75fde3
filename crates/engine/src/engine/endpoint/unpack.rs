//! Bodies that come packed although none were asked for: a proxy that packs everything.

use super::fault::one_line;
use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use std::io::Write;

/// Packed bytes that are unpacked at once: what little can become is a thousand times as much.
pub(crate) const PART: usize = 4096;

/// Unpacks a body as it comes.
pub(crate) enum Unpack {
    /// It is not packed.
    Plain,
    /// gzip.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// deflate, whose first byte says whether zlib's head stands before it, as the standard wants.
    Deflate,
    /// deflate with zlib's head.
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
    /// deflate alone.
    Raw(Box<DeflateDecoder<Vec<u8>>>),
}

impl Unpack {
    /// As the head of an answer says; the error names a packing that cannot be undone, and what to do about it.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let name = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
        match name.trim().to_lowercase().as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))),
            "deflate" => Ok(Self::Deflate),
            other => Err(format!(
                "the answer is packed as {} although nothing packed was asked for: have the server or the proxy before it \
                 send answers as they are, or as gzip",
                one_line(other)
            )),
        }
    }

    /// The next bytes unpacked; call it with no more than [`PART`] where memory matters.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let Some(first) = bytes.first() else { return Ok(Vec::new()) };
        if let Self::Deflate = self {
            // A head of zlib: method 8, and divisible by 31 with the byte behind it, of which the low half is enough.
            *self = if first & 0x0f == 8 && first >> 4 <= 7 {
                Self::Zlib(Box::new(ZlibDecoder::new(Vec::new())))
            } else {
                Self::Raw(Box::new(DeflateDecoder::new(Vec::new())))
            };
        }
        let unpacked = match self {
            Self::Plain | Self::Deflate => return Ok(bytes.to_vec()),
            Self::Gzip(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).map(|()| std::mem::take(decoder.get_mut()))
            }
            Self::Zlib(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).map(|()| std::mem::take(decoder.get_mut()))
            }
            Self::Raw(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).map(|()| std::mem::take(decoder.get_mut()))
            }
        };
        unpacked.map_err(|error| format!("the packed body cannot be unpacked: {error}"))
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It has more bytes than it may.
    TooLong,
    /// It ended before its end.
    Broken(String),
    /// It cannot be unpacked.
    Packed(String),
}

impl BodyError {
    /// In words.
    pub(crate) fn words(self) -> String {
        match self {
            Self::TooLong => "the body is too long".to_string(),
            Self::Broken(why) | Self::Packed(why) => why,
        }
    }
}

/// All of a body, unpacked, unless it has more than `most` bytes.
pub(crate) async fn whole(response: hyper::Response<Incoming>, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut unpack = Unpack::of(response.headers()).map_err(BodyError::Packed)?;
    let body: Bytes = match Limited::new(response.into_body(), most).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(BodyError::TooLong),
        Err(error) => return Err(BodyError::Broken(format!("the body broke off: {error}"))),
    };
    if let Unpack::Plain = unpack {
        return Ok(body.to_vec());
    }
    let mut all = Vec::new();
    for part in body.chunks(PART) {
        all.extend(unpack.push(part).map_err(BodyError::Packed)?);
        if all.len() > most {
            return Err(BodyError::TooLong);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use hyper::header::HeaderValue;

    #[test]
    fn each_packing_is_undone_as_it_comes() {
        let text = b"data: {\"choices\":[]}\n\n".repeat(20);
        let (mut gzip, mut zlib, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        flate2::write::GzEncoder::new(&mut gzip, Compression::fast()).write_all(&text).unwrap();
        flate2::write::ZlibEncoder::new(&mut zlib, Compression::fast()).write_all(&text).unwrap();
        flate2::write::DeflateEncoder::new(&mut raw, Compression::fast()).write_all(&text).unwrap();
        for (name, bytes) in [("gzip", gzip), ("deflate", zlib), ("deflate", raw), ("identity", text.clone())] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(name))]);
            let mut unpack = Unpack::of(&headers).unwrap();
            let all: Vec<u8> = bytes.chunks(5).flat_map(|part| unpack.push(part).unwrap()).collect();
            assert_eq!(all, text, "{name}");
        }
        let br = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("br"))]);
        assert!(Unpack::of(&br).err().unwrap().contains("packed as br"));
    }

    #[test]
    fn what_was_flushed_is_there_at_once() {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let mut unpack = Unpack::of(&headers).unwrap();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            out.write_all(event.as_bytes()).unwrap();
            out.flush().unwrap();
            let sent = std::mem::take(out.get_mut());
            assert_eq!(unpack.push(&sent).unwrap(), event.as_bytes());
        }
        assert!(unpack.push(b"no gzip at all").is_err());
    }
}
