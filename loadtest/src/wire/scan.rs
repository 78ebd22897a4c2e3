//! A single pass over JSON text, without building anything: the hot path's reader.
//! It knows JSON's shape and nothing of the protocol; what it cannot read fast (an escape in a wanted string, a
//! number that is no plain integer) it gives up on, and the caller asks a full parser.

/// A place in a text. Every step answers `None` where the text is not what was asked for.
pub(crate) struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// The offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Calls `member` with each key of the object here; it must consume the value.
    pub(crate) fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.eat(b'}') {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            member(self, key)?;
            if !self.eat(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Calls `item` at each item of the array here; it must consume it.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.eat(b']') {
            return Some(());
        }
        loop {
            item(self)?;
            if !self.eat(b',') {
                return self.expect(b']');
            }
        }
    }

    /// The string here without its quotes; none if it holds an escape.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.text.get(self.at..)?;
        let len = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
        if rest[len] == b'\\' {
            return None;
        }
        self.at += len + 1;
        Some(&rest[..len])
    }

    /// The plain non-negative integer here; none if it has a sign, a fraction, an exponent or more than 64 bits.
    pub(crate) fn integer(&mut self) -> Option<u64> {
        self.blank();
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit) = self.text.get(self.at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
            self.at += 1;
        }
        let plain = self.at > start && !matches!(self.text.get(self.at), Some(b'.' | b'e' | b'E'));
        plain.then_some(value)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        self.blank();
        let rest = self.text.get(self.at..)?;
        let value = rest.starts_with(b"true");
        if !value && !rest.starts_with(b"false") {
            return None;
        }
        self.at += if value { 4 } else { 5 };
        Some(value)
    }

    /// Passes over whatever value is here and answers its text.
    pub(crate) fn skip(&mut self) -> Option<&'a [u8]> {
        self.blank();
        let start = self.at;
        match self.text.get(self.at)? {
            b'"' => self.skip_string()?,
            b'{' | b'[' => {
                let mut depth = 0usize;
                loop {
                    match self.text.get(self.at)? {
                        b'"' => {
                            self.skip_string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                let rest = &self.text[self.at..];
                let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        (self.at > start).then(|| &self.text[start..self.at])
    }

    /// Passes over white space; whether anything is left after it.
    pub(crate) fn more(&mut self) -> bool {
        self.blank();
        self.at < self.text.len()
    }

    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn blank(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.blank();
        let here = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(here);
        here
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Option<Vec<(String, String)>> {
        let mut found = vec![];
        let mut scan = Scan::new(text.as_bytes(), 0);
        scan.object(|scan, key| {
            let value = scan.skip()?;
            found.push((String::from_utf8_lossy(key).into(), String::from_utf8_lossy(value).into()));
            Some(())
        })?;
        (!scan.more()).then_some(found)
    }

    #[test]
    fn every_kind_of_value_is_passed_over_whole() {
        let text = r#" { "a" : 1 , "b":"x}\"]\\", "c":[{"d":"]"},[]],"e":null,"f":-1.5e3,"g":{},"h":true} "#;
        let found = keys(text).expect("an object");
        let values: Vec<_> = found.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["1", r#""x}\"]\\""#, r#"[{"d":"]"},[]]"#, "null", "-1.5e3", "{}", "true"]);
    }

    #[test]
    fn broken_text_is_none_and_never_a_panic() {
        let whole = r#"{"a":[1,{"b":"c\n"}],"d":12}"#;
        for cut in 0..whole.len() {
            assert_eq!(keys(&whole[..cut]), None, "cut to {cut}");
        }
        for text in ["", "[]", "{,}", r#"{"a"}"#, r#"{"a":}"#, r#"{"a":1,}"#, r#"{"a":"\"#, r#"{"a":]}"#] {
            assert_eq!(keys(text), None, "{text}");
        }
    }

    #[test]
    fn only_plain_integers_and_strings_are_read() {
        let integer = |text: &str| Scan::new(text.as_bytes(), 0).integer();
        assert_eq!(integer("0,"), Some(0));
        assert_eq!(integer(" 9007199254740991}"), Some(9_007_199_254_740_991));
        for text in ["-1", "1.0", "1e3", "", "x", "99999999999999999999"] {
            assert_eq!(integer(text), None, "{text}");
        }
        let string = |text: &'static str| Scan::new(text.as_bytes(), 0).string();
        assert_eq!(string(r#""abc" "#), Some(&b"abc"[..]));
        assert_eq!(string(r#""a\u0062c""#), None);
        assert_eq!(string(r#""abc"#), None);
        assert_eq!(Scan::new(b"false", 0).boolean(), Some(false));
        assert_eq!(Scan::new(b"nil", 0).boolean(), None);
    }
}
