//! Who is calling: roles, names, tokens and the keys they are signed with, and how a request carries one.
//!
//! A token is only ever read from the places the protocol names, and never logged. What a role may do in a resource is
//! asked here (`allows`) but decided in that resource.

mod credentials;
mod extract;
mod key_file;
mod role;
mod subject;
mod token;
mod ttl;

pub use credentials::{Offer, SUBPROTOCOL_PREFIX, from_authorization, from_subprotocols};
pub use extract::{AccessError, Caller, Gate};
pub use key_file::{KeyError, MIN_SECRET_BYTES, is_pem};
pub use role::{Role, RoleError};
pub use subject::{Subject, SubjectError};
pub use token::{AUDIENCE, AuthError, IssueError, Principal, TokenKeys};
pub use ttl::{Ttl, TtlError};
