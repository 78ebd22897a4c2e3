//! The way from an HTTP request to its caller. The only file of this folder that knows actix; it decides who, never what.

use super::credentials::{Offer, from_authorization, from_subprotocols};
use super::{AuthError, Issuer, Principal, Revocations, Role, TokenKeys};
use crate::config::Anonymous;
use crate::http::problem::Problem;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use std::pin::Pin;
use std::sync::Arc;

/// A caller was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It is not known who it is.
    #[error(transparent)]
    Unauthenticated(#[from] AuthError),
    /// It is known, and may not.
    #[error("this needs the role {needed}, the token has {had}")]
    Forbidden {
        /// The role that would have been enough.
        needed: Role,
        /// The caller's.
        had: Role,
    },
}

/// Whoever calls: a token's holder, or nobody in particular where the configuration lets anonymous viewers in.
///
/// As an extractor it needs a `web::Data<Gate>` and answers 401 itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No token, and anonymous viewing is on.
    Anonymous,
    /// The holder of a valid token.
    Known(Principal),
}

impl Caller {
    /// The caller's role; an anonymous one is a viewer.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Anonymous => Role::Viewer,
            Self::Known(principal) => principal.role,
        }
    }

    /// The token's holder, if there is one.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Anonymous => None,
            Self::Known(principal) => Some(principal),
        }
    }

    /// Lets pass who may do what `needed` may.
    ///
    /// # Errors
    /// An anonymous caller is asked for a token (401), a known one with too little is refused (403).
    pub fn require(&self, needed: Role) -> Result<(), AccessError> {
        match self {
            caller if caller.role().allows(needed) => Ok(()),
            Self::Anonymous => Err(AuthError::Missing.into()),
            Self::Known(principal) => Err(AccessError::Forbidden { needed, had: principal.role }),
        }
    }

    /// As [`Caller::require`], for what only a token's holder can do, whatever is open to anonymous viewers.
    ///
    /// # Errors
    /// As [`Caller::require`]; an anonymous caller always.
    pub fn require_known(&self, needed: Role) -> Result<&Principal, AccessError> {
        self.require(needed)?;
        self.principal().ok_or_else(|| AuthError::Missing.into())
    }
}

/// Verifies what requests carry. One for the process, shared as `web::Data<Gate>`.
#[derive(Clone, Debug)]
pub struct Gate {
    keys: TokenKeys,
    anonymous: Anonymous,
    revocations: Arc<Revocations>,
    issuer: Option<Arc<Issuer>>,
}

impl Gate {
    /// A gate with these keys, at which nobody is turned away yet.
    #[must_use]
    pub fn new(keys: TokenKeys, anonymous: Anonymous) -> Self {
        Self { keys, anonymous, revocations: Arc::default(), issuer: None }
    }

    /// With those whose tokens are good no longer, and with another issuer whose tokens are good here.
    #[must_use]
    pub fn with(self, revocations: Arc<Revocations>, issuer: Option<Arc<Issuer>>) -> Self {
        Self { revocations, issuer, ..self }
    }

    /// Whose tokens are good no longer.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Who a token was made for, if that is let in.
    ///
    /// # Errors
    /// The token, or its holder is let in no longer. [`AuthError::UnknownKey`] has had the issuer's keys asked for.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let principal = match self.issuer.as_ref().map(|issuer| (issuer, issuer.verify(token))) {
            None | Some((_, None)) => self.keys.verify(token)?,
            // Others that share this server's own key may name it as they like.
            Some((issuer, Some(Err(AuthError::UnknownKey)))) => self.keys.verify(token).map_err(|_| {
                issuer.ask();
                AuthError::UnknownKey
            })?,
            Some((_, Some(outcome))) => outcome?,
        };
        self.revocations.check(&principal)?;
        Ok(principal)
    }

    /// Waits, a little, for keys that [`AuthError::UnknownKey`] had asked for. Whether to verify once more.
    pub async fn new_keys(&self, error: &AuthError) -> bool {
        match &self.issuer {
            Some(issuer) if *error == AuthError::UnknownKey => {
                issuer.refreshed().await;
                true
            }
            _ => false,
        }
    }

    /// Who calls a REST resource: `Authorization: Bearer`, else an anonymous viewer where that is allowed.
    ///
    /// # Errors
    /// A bad token, also where none would have been needed; no token where one is.
    pub fn caller(&self, request: &HttpRequest) -> Result<Caller, AuthError> {
        self.known(authorization(request))?.map_or_else(|| self.nobody(), |principal| Ok(Caller::Known(principal)))
    }

    /// Who asks for a WebSocket: the header, else the subprotocol entry, else `None`: to be told in a first frame `auth`.
    ///
    /// # Errors
    /// A bad token: the upgrade is answered with 401.
    pub fn socket(&self, request: &HttpRequest) -> Result<Option<Principal>, AuthError> {
        let offer = match authorization(request) {
            Offer::Nothing => {
                let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
                from_subprotocols(values.filter_map(|value| value.to_str().ok()))
            }
            offer => offer,
        };
        self.known(offer)
    }

    /// What a caller without a token is.
    ///
    /// # Errors
    /// Where anonymous viewing is off.
    pub fn nobody(&self) -> Result<Caller, AuthError> {
        match self.anonymous {
            Anonymous::Viewer => Ok(Caller::Anonymous),
            Anonymous::None => Err(AuthError::Missing),
        }
    }

    fn known(&self, offer: Offer<'_>) -> Result<Option<Principal>, AuthError> {
        match offer {
            Offer::Nothing => Ok(None),
            Offer::Token(token) => self.verify(token).map(Some),
            Offer::Malformed => Err(AuthError::Malformed),
        }
    }
}

fn authorization(request: &HttpRequest) -> Offer<'_> {
    match request.headers().get(header::AUTHORIZATION) {
        None => Offer::Nothing,
        Some(value) => value.to_str().map_or(Offer::Malformed, |text| from_authorization(Some(text))),
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let gate = request.app_data::<web::Data<Gate>>().expect("the application is built with a gate").clone();
        let request = request.clone();
        Box::pin(async move {
            match gate.caller(&request) {
                Err(error) if gate.new_keys(&error).await => gate.caller(&request),
                outcome => outcome,
            }
            .map_err(Problem::from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Subject, Ttl};
    use actix_web::test::TestRequest;
    use std::time::Duration;

    fn gate(anonymous: Anonymous) -> (Gate, String) {
        let keys = TokenKeys::from_secret(&[7; 32], Duration::ZERO);
        let (sub, ttl): (Subject, Ttl) = ("alice".parse().unwrap(), "1h".parse().unwrap());
        let token = keys.issue(&sub, Role::Bidder, ttl).unwrap();
        (Gate::new(keys, anonymous), token)
    }

    fn with(name: &'static str, value: &str) -> HttpRequest {
        TestRequest::default().insert_header((name, value)).to_http_request()
    }

    #[test]
    fn rest_callers() {
        let (open, token) = gate(Anonymous::Viewer);
        let (closed, _) = gate(Anonymous::None);
        let none = TestRequest::default().to_http_request();
        assert_eq!(open.caller(&none), Ok(Caller::Anonymous));
        assert_eq!(closed.caller(&none), Err(AuthError::Missing));
        let good = with("authorization", &format!("Bearer {token}"));
        assert_eq!(closed.caller(&good).unwrap().role(), Role::Bidder);
        for bad in ["Bearer x.y.z", "Basic eDp5", "Bearer"] {
            assert!(open.caller(&with("authorization", bad)).is_err(), "{bad}: a bad token is never an anonymous caller");
        }
        let in_query = TestRequest::with_uri(&format!("/?token={token}&access_token={token}")).to_http_request();
        assert_eq!(closed.caller(&in_query), Err(AuthError::Missing));
        let subprotocol = with("sec-websocket-protocol", &format!("gavel.bearer.{token}"));
        assert_eq!(closed.caller(&subprotocol), Err(AuthError::Missing));
    }

    #[test]
    fn socket_callers() {
        let (gate, token) = gate(Anonymous::None);
        let alice = |request: HttpRequest| gate.socket(&request).map(|who| who.map(|p| p.sub.to_string()));
        assert_eq!(alice(TestRequest::default().to_http_request()), Ok(None));
        assert_eq!(alice(with("authorization", &format!("Bearer {token}"))), Ok(Some("alice".into())));
        let list = format!("gavel.json.v1, gavel.bearer.{token}");
        assert_eq!(alice(with("sec-websocket-protocol", &list)), Ok(Some("alice".into())));
        assert!(alice(with("sec-websocket-protocol", "gavel.json.v1, gavel.bearer.x")).is_err());
    }

    #[test]
    fn what_is_required_is_asked_for() {
        let (gate, token) = gate(Anonymous::Viewer);
        let bidder = gate.caller(&with("authorization", &format!("Bearer {token}"))).unwrap();
        assert!(bidder.require_known(Role::Bidder).is_ok());
        let refused = AccessError::Forbidden { needed: Role::Auctioneer, had: Role::Bidder };
        assert_eq!(bidder.require(Role::Auctioneer), Err(refused));
        assert_eq!(Caller::Anonymous.require(Role::Viewer), Ok(()));
        assert_eq!(Caller::Anonymous.require(Role::Bidder), Err(AuthError::Missing.into()));
        assert!(Caller::Anonymous.require_known(Role::Viewer).is_err());
    }
}
