//! Whole messages out of a socket's bytes: masks, fragments and bounds of RFC 6455.
//!
//! A frame is judged by its header, before its payload is here: what waits for the rest of a frame is never more than the
//! bound, whatever length the header claims.

use actix_http::ws::{Codec as FrameCodec, Frame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder as _;

/// A message of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    /// With what our ping carried, if it answers one.
    Pong(Bytes),
    Close,
}

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// 1009.
    TooLarge,
    /// 1002.
    Protocol,
    /// 1007.
    NotUtf8,
}

/// The reading side of one socket.
pub(super) struct Frames {
    buffer: BytesMut,
    codec: FrameCodec,
    limit: usize,
    /// The message whose end has not come yet.
    fragments: Option<(bool, BytesMut)>,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), codec: FrameCodec::new().max_size(limit), limit, fragments: None }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message; none until more bytes come.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Violation> {
        loop {
            if !self.holds_a_frame()? {
                return Ok(None);
            }
            let frame = self.codec.decode(&mut self.buffer).map_err(|error| match error {
                ProtocolError::Overflow => Violation::TooLarge,
                _ => Violation::Protocol,
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let whole = match frame {
                Frame::Text(bytes) => Some(text(bytes)?),
                Frame::Binary(bytes) => Some(Incoming::Binary(bytes)),
                Frame::Ping(bytes) => Some(Incoming::Ping(bytes)),
                Frame::Pong(bytes) => Some(Incoming::Pong(bytes)),
                Frame::Close(_) => Some(Incoming::Close),
                Frame::Continuation(item) => self.fragment(item)?,
            };
            if whole.is_some() {
                return Ok(whole);
            }
        }
    }

    /// Whether a frame is here to its end. The codec is asked only then: it would make room for as much as a header claims,
    /// and look at the bound last.
    fn holds_a_frame(&self) -> Result<bool, Violation> {
        let Some(Header { bytes, payload }) = Header::of(&self.buffer)? else { return Ok(false) };
        if payload > self.limit as u64 {
            return Err(Violation::TooLarge);
        }
        Ok(self.buffer.len() as u64 >= bytes + payload)
    }

    /// The bound of a frame holds for all fragments of a message together.
    fn fragment(&mut self, item: Item) -> Result<Option<Incoming>, Violation> {
        let (bytes, last) = match item {
            Item::FirstText(bytes) => {
                self.fragments = Some((true, BytesMut::new()));
                (bytes, false)
            }
            Item::FirstBinary(bytes) => {
                self.fragments = Some((false, BytesMut::new()));
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let (_, message) = self.fragments.as_mut().ok_or(Violation::Protocol)?;
        if message.len() + bytes.len() > self.limit {
            return Err(Violation::TooLarge);
        }
        message.extend_from_slice(&bytes);
        match self.fragments.take_if(|_| last) {
            Some((true, message)) => text(message.freeze()).map(Some),
            Some((false, message)) => Ok(Some(Incoming::Binary(message.freeze()))),
            None => Ok(None),
        }
    }
}

/// A frame's lengths (RFC 6455, section 5.2).
struct Header {
    /// Its own, the mask included.
    bytes: u64,
    /// What it says will follow.
    payload: u64,
}

impl Header {
    /// From a frame's first bytes; none until enough of them are here.
    fn of(frame: &[u8]) -> Result<Option<Self>, Violation> {
        const MASK: u64 = 4;
        let [_, second, rest @ ..] = frame else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::Protocol); // a client masks all it sends
        }
        Ok(match second & 0x7f {
            126 => rest.first_chunk().map(|length| Self { bytes: 4 + MASK, payload: u16::from_be_bytes(*length).into() }),
            127 => rest.first_chunk().map(|length| Self { bytes: 10 + MASK, payload: u64::from_be_bytes(*length) }),
            length => Some(Self { bytes: 2 + MASK, payload: length.into() }),
        })
    }
}

fn text(bytes: Bytes) -> Result<Incoming, Violation> {
    if std::str::from_utf8(&bytes).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Incoming::Text(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::ws::{OpCode, Parser};

    fn fed(frames: &[(OpCode, bool, &[u8])]) -> Frames {
        let mut bytes = BytesMut::new();
        for (op, last, payload) in frames {
            Parser::write_message(&mut bytes, payload, *op, *last, true);
        }
        let mut reader = Frames::new(10);
        reader.feed(&bytes);
        reader
    }

    #[test]
    fn fragments_make_one_message_with_control_frames_between() {
        let mut reader = fed(&[
            (OpCode::Text, false, b"ab"),
            (OpCode::Ping, true, b"x"),
            (OpCode::Continue, false, b"cd"),
            (OpCode::Continue, true, b"e"),
        ]);
        assert_eq!(reader.next(), Ok(Some(Incoming::Ping(Bytes::from_static(b"x")))));
        assert_eq!(reader.next(), Ok(Some(Incoming::Text(Bytes::from_static(b"abcde")))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn the_bound_holds_for_a_frame_and_for_fragments_together() {
        assert_eq!(fed(&[(OpCode::Text, true, b"12345678901")]).next(), Err(Violation::TooLarge));
        let mut reader = fed(&[(OpCode::Text, false, b"123456"), (OpCode::Continue, true, b"78901")]);
        assert_eq!(reader.next(), Err(Violation::TooLarge));
    }

    #[test]
    fn a_header_alone_tells_that_a_frame_is_too_large() {
        let masked = 0x80;
        for header in [
            &[0x81, masked | 11][..],
            &[0x81, masked | 126, 0, 11],
            &[0x81, masked | 127, 0, 0, 0x40, 0, 0, 0, 0, 0],
            &[0x81, masked | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            let mut reader = fed(&[]);
            for byte in &header[..header.len() - 1] {
                reader.feed(&[*byte]);
                assert_eq!(reader.next(), Ok(None), "{header:?}");
            }
            reader.feed(&header[header.len() - 1..]);
            assert_eq!(reader.next(), Err(Violation::TooLarge), "{header:?}");
        }
    }

    #[test]
    fn no_room_is_made_for_what_a_header_claims() {
        let mut reader = Frames::new(16 << 20);
        reader.feed(&[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(reader.next(), Ok(None));
        reader.feed(&[0; 100]);
        assert_eq!(reader.next(), Ok(None));
        assert!(reader.buffer.capacity() < 1024, "{} bytes for a frame that has not come", reader.buffer.capacity());
    }

    #[test]
    fn a_frame_comes_in_any_pieces_and_must_be_masked() {
        let mut bytes = BytesMut::new();
        Parser::write_message(&mut bytes, &b"hello"[..], OpCode::Text, true, true);
        let mut reader = Frames::new(10);
        for byte in &bytes[..bytes.len() - 1] {
            reader.feed(&[*byte]);
            assert_eq!(reader.next(), Ok(None));
        }
        reader.feed(&bytes[bytes.len() - 1..]);
        assert_eq!(reader.next(), Ok(Some(Incoming::Text(Bytes::from_static(b"hello")))));
        reader.feed(&[0x81, 0x01]);
        assert_eq!(reader.next(), Err(Violation::Protocol));
    }

    #[test]
    fn text_must_be_utf8_and_fragments_must_begin() {
        assert_eq!(fed(&[(OpCode::Text, true, &[0xff])]).next(), Err(Violation::NotUtf8));
        assert_eq!(fed(&[(OpCode::Continue, true, b"x")]).next(), Err(Violation::Protocol));
    }
}
