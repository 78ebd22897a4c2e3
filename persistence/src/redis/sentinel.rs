//! Sentinels: where the master is, asked anew for each connection.

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection, cmd,
};

/// A master that Sentinels know by name.
pub(super) struct Master {
    pub(super) name: String,
    pub(super) sentinels: Vec<Client>,
    /// With credentials; host and port are the Sentinels' to say.
    pub(super) info: ConnectionInfo,
    pub(super) root_certificates: Option<Vec<u8>>,
}

impl Master {
    /// The first Sentinel that answers decides. Right after a failover it may still name the old master, which is not one any more.
    pub(super) async fn connect(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
        let (host, port) = self.whereabouts(config).await?;
        let addr = match self.info.addr() {
            ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let info = self.info.clone().set_addr(addr.clone());
        let client = client(info, self.root_certificates.clone())?;
        let mut conn = client.get_multiplexed_async_connection_with_config(config).await?;
        let role: Vec<Value> = cmd("ROLE").query_async(&mut conn).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(conn),
            _ => Err(trouble(format!("{addr}, which the Sentinels call the master, is a replica"))),
        }
    }

    async fn whereabouts(&self, config: &AsyncConnectionConfig) -> Result<(String, u16), RedisError> {
        let mut last = trouble("no Sentinel is configured".to_owned());
        for sentinel in &self.sentinels {
            let asked = async {
                let mut conn = sentinel.get_multiplexed_async_connection_with_config(config).await?;
                let mut question = cmd("SENTINEL");
                question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
                question.query_async::<Option<(String, u16)>>(&mut conn).await
            };
            match asked.await {
                Ok(Some(place)) => return Ok(place),
                Ok(None) => {
                    last = trouble(format!("the Sentinel at {} knows no master {:?}", sentinel.get_connection_info().addr(), self.name))
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A client that trusts these certificates, or the system's.
pub(super) fn client(info: ConnectionInfo, root_certificates: Option<Vec<u8>>) -> Result<Client, RedisError> {
    match root_certificates {
        None => Client::open(info),
        root_cert => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert }),
    }
}

fn trouble(what: String) -> RedisError {
    RedisError::from((ErrorKind::Client, "no master", what))
}
