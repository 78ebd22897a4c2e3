//! The two subprotocols: how messages become frames, and requests come out of them.

use crate::wire::message::{ClientFrame, IdOnly, ServerMessage};
use actix_http::ws::{OpCode, Parser};
use bytes::{BufMut, BytesMut};

/// What the two ends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Json,
    Bincode,
}

/// What a binary request may claim to hold. The frame's own bound is `limits.frame_bytes`; bincode
/// counts numbers at their full width, so this is larger.
const DECODED_BYTES: usize = 4 << 20;

/// Subprotocols in the order of preference.
pub(super) const PROTOCOLS: [&str; 2] = ["gavel.json.v1", "gavel.bincode.v1"];

/// Why a message is no request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// Answer `invalid` under this id.
    Invalid { id: i64, why: String },
    /// There is no id to answer under.
    NoId,
}

impl Codec {
    pub(super) fn of_protocol(protocol: Option<&str>) -> Self {
        if protocol == Some(PROTOCOLS[1]) { Self::Bincode } else { Self::Json }
    }

    /// Appends a message as one whole frame.
    pub(super) fn write(self, message: &ServerMessage, out: &mut BytesMut) {
        let mut payload = BytesMut::with_capacity(512);
        let written = match self {
            Self::Json => serde_json::to_writer((&mut payload).writer(), message).is_ok(),
            Self::Bincode => {
                bincode::serde::encode_into_std_write(message, &mut (&mut payload).writer(), bincode::config::standard()).is_ok()
            }
        };
        debug_assert!(written, "the wire types always encode");
        let op = if self == Self::Json { OpCode::Text } else { OpCode::Binary };
        Parser::write_message(out, payload, op, true, false);
    }

    /// A request from a message's bytes (JSON: one line).
    pub(super) fn read(self, bytes: &[u8]) -> Result<ClientFrame, NoRequest> {
        match self {
            Self::Json => read_json(bytes),
            Self::Bincode => read_bincode(bytes),
        }
    }
}

fn read_json(bytes: &[u8]) -> Result<ClientFrame, NoRequest> {
    // serde reads `[1]` as an object with one field. No request has an array, and few have the byte.
    let has_arrays = bytes.contains(&b'[') && serde_json::from_slice(bytes).is_ok_and(|value| holds_array(&value));
    let read = if has_arrays { Err("an array where an object or a value is expected".to_owned()) } else { parse_json(bytes) };
    read.map_err(|why| match serde_json::from_slice::<IdOnly>(bytes) {
        Ok(IdOnly { id }) if bytes.trim_ascii_start().starts_with(b"{") => NoRequest::Invalid { id, why },
        _ => NoRequest::NoId,
    })
}

fn parse_json(bytes: &[u8]) -> Result<ClientFrame, String> {
    serde_json::from_slice(bytes).map_err(|error| without_place(&error))
}

fn holds_array(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(_) => true,
        serde_json::Value::Object(fields) => fields.values().any(holds_array),
        _ => false,
    }
}

fn read_bincode(bytes: &[u8]) -> Result<ClientFrame, NoRequest> {
    let config = bincode::config::standard().with_limit::<DECODED_BYTES>();
    match bincode::serde::decode_from_slice::<ClientFrame, _>(bytes, config) {
        Ok((frame, read)) if read == bytes.len() => Ok(frame),
        Ok((frame, _)) => Err(NoRequest::Invalid { id: frame.id, why: "bytes after the request".to_owned() }),
        Err(error) => match bincode::serde::decode_from_slice::<i64, _>(bytes, config) {
            Ok((id, _)) => Err(NoRequest::Invalid { id, why: error.to_string() }),
            Err(_) => Err(NoRequest::NoId),
        },
    }
}

/// The error without `at line 1 column 7`: a frame is one line.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}
