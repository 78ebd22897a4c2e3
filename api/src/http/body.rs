//! A request's body: bounded, and every error of it a problem that names the field.

use super::{
    Api,
    problem::{Code, Problem},
};
use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use std::{future::Future, pin::Pin};

/// All of it, at most `limits.body_bytes`.
pub(super) struct Body(pub(super) web::BytesMut);

impl FromRequest for Body {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limit = request.app_data::<web::Data<Api>>().map_or(0, |api| api.settings.limits.body_bytes);
        let mut payload = payload.take();
        Box::pin(async move {
            let mut body = web::BytesMut::new();
            while let Some(part) = payload.next().await {
                let part = part.map_err(Problem::from)?;
                if body.len() + part.len() > limit {
                    return Err(Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes")));
                }
                body.extend_from_slice(&part);
            }
            Ok(Self(body))
        })
    }
}

impl std::ops::Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// JSON as `T`.
///
/// # Errors
/// What is wrong, with the path of the field.
pub(crate) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.path().to_string() {
        path if path == "." => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })?;
    reader.end().map_err(|error| error.to_string())?;
    check_arrays(&serde_json::from_slice(json).map_err(|error| error.to_string())?)?;
    Ok(value)
}

/// serde reads `[1]` as an object with one field; a client that sends it means something else. The
/// arrays that requests have are those of increments, of objects, and of bidders, of names.
fn check_arrays(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(_) => Err("an array where an object or a value is expected".to_owned()),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match value {
            Value::Array(rows) if name == "increments" || name == "bidders" => rows.iter().try_for_each(check_arrays),
            other => check_arrays(other).map_err(|error| format!("{name}: {error}")),
        }),
        _ => Ok(()),
    }
}
