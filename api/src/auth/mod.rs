//! Who is calling: roles, names, tokens and the keys they are signed with, and how a request carries one; and for those who
//! have an account here: passwords, logins, sessions.
//!
//! A token is only ever read from the places the protocol names, and never logged. What a role may do in a resource is
//! asked here (`allows`) but decided in that resource.

mod credentials;
mod extract;
mod fetch;
mod issuer;
mod jwks;
mod key_file;
mod lockout;
mod logins;
mod password;
mod refresh_token;
mod revocations;
mod role;
mod subject;
mod token;
mod ttl;

pub use credentials::{Offer, SUBPROTOCOL_PREFIX, from_authorization, from_subprotocols};
pub use extract::{AccessError, Caller, Gate};
pub use issuer::{Issuer, IssuerError, Source};
pub use jwks::KeySetError;
pub use key_file::{KeyError, MIN_SECRET_BYTES, is_pem};
pub use lockout::Block;
pub use logins::{Granted, LoginError, Logins, Origin, Policy};
pub use password::{HashCost, Hasher, MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES, PasswordError, Passwords};
pub use refresh_token::{NoRandomness, RefreshToken};
pub use revocations::Revocations;
pub use role::{Role, RoleError};
pub use subject::{Subject, SubjectError};
pub use token::{AUDIENCE, AuthError, IssueError, Principal, TokenKeys};
pub use ttl::{Ttl, TtlError};
