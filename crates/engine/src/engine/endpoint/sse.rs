//! Server-sent events (WHATWG HTML, section 9.2), as far as the API uses them: name and `data` of each event, with a
//! bound on how much is kept of a line that never ends.

/// The longest line: a chunk of an answer is some hundred bytes.
pub(crate) const MOST_OF_A_LINE: usize = 1 << 20;

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A line beyond [`MOST_OF_A_LINE`].
    TooLong,
    /// A line that is not UTF-8.
    BadUtf8,
}

/// An event as it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// What the server calls it; empty where it does not.
    pub name: &'a str,
    /// Its data lines.
    pub data: &'a str,
}

/// Takes bytes as they come and gives events as they end. Lines end with a line feed, a carriage return or both.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Name and data lines of the event that has not ended yet.
    name: String,
    data: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed behind it ends no further line.
    after_return: bool,
    /// The first line, which a byte order mark may stand before, is over.
    begun: bool,
}

impl Events {
    /// Takes the next bytes and calls `take` with each event that they end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Event<'_>)) -> Result<(), Fault> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            // Most lines come whole: they are not copied.
            let (part, mut rest) = (&bytes[..end], &bytes[end + 1..]);
            if bytes[end] == b'\r' {
                self.after_return = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            bytes = rest;
            if self.line.is_empty() {
                self.line_ended(part, &mut take)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.line_ended(&line, &mut take)?;
                line.clear();
                self.line = line;
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > MOST_OF_A_LINE { Err(Fault::TooLong) } else { Ok(()) }
    }

    /// Ends the event that the stream ended within: some servers leave out the empty line behind their last one.
    pub(crate) fn finish(&mut self, mut take: impl FnMut(Event<'_>)) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line_ended(&line, &mut take)?;
        }
        self.line_ended(&[], &mut take)
    }

    fn line_ended(&mut self, line: &[u8], take: &mut impl FnMut(Event<'_>)) -> Result<(), Fault> {
        if line.len() + self.data.len() > MOST_OF_A_LINE {
            return Err(Fault::TooLong);
        }
        let marked = if std::mem::replace(&mut self.begun, true) { None } else { line.strip_prefix(b"\xef\xbb\xbf") };
        let line = marked.unwrap_or(line);
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                take(Event { name: &self.name, data: &self.data });
                self.data.clear();
            }
            self.name.clear();
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|_| Fault::BadUtf8)?;
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // llama.cpp's server has said its errors in a field of that name.
            "data" | "error" => {
                if field == "error" {
                    self.name = field.to_string();
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => self.name = value.trim().to_string(),
            // Comments and numbers of events say nothing here.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(parts: &[&[u8]]) -> Result<Vec<String>, Fault> {
        let mut events = Events::default();
        let mut taken = Vec::new();
        for part in parts {
            events.push(part, |event| taken.push(event.data.to_string()))?;
        }
        Ok(taken)
    }

    #[test]
    fn events_end_with_an_empty_line_however_they_are_cut() {
        assert_eq!(
            all(&[b"data: {\"a\":1}\n\nda", b"ta: x\r\n\r", b"\n: ping\n\nevent: e\ndata:y\ndata: z\n\n"]).unwrap(),
            ["{\"a\":1}", "x", "y\nz"]
        );
        assert_eq!(all(&[b"data: not ended\n"]).unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn lines_end_as_the_standard_lets_them() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("\u{feff}data: a{end}{end}data:b{end}data: c{end}{end}").into_bytes();
            for size in 1..text.len() {
                let parts: Vec<&[u8]> = text.chunks(size).collect();
                assert_eq!(all(&parts).unwrap(), ["a", "b\nc"], "{end:?} in parts of {size}");
            }
        }
    }

    #[test]
    fn names_are_kept_and_a_last_event_need_not_be_closed() {
        let mut events = Events::default();
        let mut taken = Vec::new();
        let mut take = |event: Event<'_>| taken.push((event.name.to_string(), event.data.to_string()));
        let text = b"event: error\ndata: x\n\ndata: y\n\nerror: {}\n\ndata: [DONE]";
        events.push(text, &mut take).unwrap();
        events.finish(&mut take).unwrap();
        let expected = [("error", "x"), ("", "y"), ("error", "{}"), ("", "[DONE]")];
        assert_eq!(taken, expected.map(|(name, data)| (name.to_string(), data.to_string())));
    }

    #[test]
    fn what_cannot_be_text_or_never_ends_is_a_fault() {
        assert_eq!(all(&[b"data: \xff\xfe\n\n"]), Err(Fault::BadUtf8));
        let long = vec![b'x'; MOST_OF_A_LINE / 2 + 1];
        assert_eq!(all(&[&long, &long]), Err(Fault::TooLong));
        let line: Vec<u8> = [b"data: ".as_slice(), &long, b"\n"].concat();
        assert_eq!(all(&[&line, &line]), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let cut = cut.min(bytes.len());
            let whole = all(&[&bytes]);
            let parts = all(&[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(whole.is_ok(), parts.is_ok());
            if let (Ok(whole), Ok(parts)) = (whole, parts) {
                prop_assert_eq!(whole, parts);
            }
        }
    }
}
