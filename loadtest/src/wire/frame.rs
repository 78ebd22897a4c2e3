//! RFC 6455 frames as a client sees them: it reads unmasked ones and writes masked ones.
//! No I/O, no joining of fragments, no meaning.

use std::ops::Range;

use thiserror::Error;

/// A frame longer than this is taken for a broken stream, in bytes.
const LONGEST: u64 = 64 << 20;

/// What a frame carries (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// One whole frame at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whether the message ends here.
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    /// Where the payload lies; its end is the frame's end.
    pub(crate) payload: Range<usize>,
}

/// Why bytes from a server are not a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("a frame with reserved bits or an unknown opcode (first byte {0:#04x})")]
    Reserved(u8),
    #[error("a masked frame, which a server must not send")]
    Masked,
    #[error("a frame of {0} bytes")]
    TooLong(u64),
}

/// The frame at the front of `bytes`; none while it is incomplete.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let &[first, second, ..] = bytes else {
        return Ok(None);
    };
    let opcode = match first & 0x7f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(FrameError::Reserved(first)),
    };
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (at, len) = match second {
        126 => match bytes.get(2..4) {
            Some(&[a, b]) => (4, u64::from(u16::from_be_bytes([a, b]))),
            _ => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|b| <[u8; 8]>::try_from(b).ok()) {
            Some(b) => (10, u64::from_be_bytes(b)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if len > LONGEST {
        return Err(FrameError::TooLong(len));
    }
    let end = at + len as usize;
    Ok((bytes.len() >= end).then_some(Frame { fin: first & 0x80 != 0, opcode, payload: at..end }))
}

/// Writes the head of a final frame whose payload of `len` bytes must follow.
/// The mask key is zero, which RFC 6455 allows and leaves the payload as it is.
pub(crate) fn head(out: &mut Vec<u8>, opcode: Opcode, len: usize) {
    let first = 0x80 | opcode as u8;
    match len {
        0..=125 => out.extend([first, 0x80 | len as u8, 0, 0, 0, 0]),
        126..=0xffff => out.extend([first, 0x80 | 126, (len >> 8) as u8, len as u8, 0, 0, 0, 0]),
        _ => {
            out.extend([first, 0x80 | 127]);
            out.extend((len as u64).to_be_bytes());
            out.extend([0; 4]);
        }
    }
}

/// Writes a whole final frame.
pub(crate) fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    head(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        encode(&mut out, Opcode::Text, payload);
        let head = out.len() - payload.len() - 4;
        let mut plain = out[..head].to_vec();
        plain[0] = first;
        plain[1] &= 0x7f;
        plain.extend(payload);
        plain
    }

    #[test]
    fn every_length_form_is_read_and_each_cut_is_incomplete() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = server_frame(0x81, &vec![b'x'; len]);
            let frame = decode(&bytes).unwrap().unwrap();
            assert_eq!((frame.fin, frame.opcode), (true, Opcode::Text));
            assert_eq!((frame.payload.len(), frame.payload.end), (len, bytes.len()));
            for cut in (0..bytes.len().min(12)).chain([bytes.len() - 1]) {
                assert_eq!(decode(&bytes[..cut]), Ok(None), "{len} bytes cut to {cut}");
            }
        }
    }

    #[test]
    fn control_and_continued_frames_are_told_apart() {
        for (first, fin, opcode) in [
            (0x89, true, Opcode::Ping),
            (0x8a, true, Opcode::Pong),
            (0x88, true, Opcode::Close),
            (0x01, false, Opcode::Text),
            (0x80, true, Opcode::Continuation),
            (0x82, true, Opcode::Binary),
        ] {
            let frame = decode(&server_frame(first, b"ab")).unwrap().unwrap();
            assert_eq!((frame.fin, frame.opcode), (fin, opcode));
        }
    }

    #[test]
    fn broken_heads_are_refused() {
        assert_eq!(decode(&[0xc1, 0]), Err(FrameError::Reserved(0xc1)));
        assert_eq!(decode(&[0x83, 0]), Err(FrameError::Reserved(0x83)));
        assert_eq!(decode(&[0x81, 0x80]), Err(FrameError::Masked));
        let long = [0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(&long), Err(FrameError::TooLong(1 << 56)));
    }

    #[test]
    fn what_is_written_is_masked_with_a_zero_key() {
        for (len, head) in [(5usize, 6usize), (300, 8), (70_000, 14)] {
            let mut out = vec![];
            encode(&mut out, Opcode::Text, &vec![b'y'; len]);
            assert_eq!(out.len(), head + len);
            assert_eq!(out[1] & 0x80, 0x80);
            assert_eq!(out[head - 4..head], [0; 4]);
            assert!(out[head..].iter().all(|b| *b == b'y'));
        }
    }
}
