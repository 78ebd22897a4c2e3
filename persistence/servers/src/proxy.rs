//! A TCP proxy that delays, stalls, drops and cuts, as it is told while it runs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They go on.
    Pass,
    /// They go on after this long; more is read meanwhile only by the system.
    Delay(Duration),
    /// They wait until the flow is another.
    Stall,
    /// They are read and gone.
    Drop,
}

#[derive(Clone, Copy)]
struct Orders {
    requests: Flow,
    replies: Flow,
    refuse: bool,
    /// Connections that began under another are cut.
    cuts: u64,
}

/// Stands before a server. Needs a runtime; ends with its handle, and with it its connections.
pub struct Proxy {
    addr: SocketAddr,
    orders: watch::Sender<Orders>,
    dropped: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Before the server at `target`; passes everything on until it is told otherwise.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let orders = watch::Sender::new(Orders { requests: Flow::Pass, replies: Flow::Pass, refuse: false, cuts: 0 });
        let dropped = watch::Sender::new(0);
        let task = tokio::spawn(accept(listener, target, orders.clone(), dropped.clone()));
        Self { addr, orders, dropped, task }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A server's address in `url` replaced by this one's.
    #[must_use]
    pub fn instead_of(&self, server: SocketAddr, url: &str) -> String {
        url.replace(&server.to_string(), &self.addr.to_string())
    }

    /// What happens to what clients send, on all connections from now on.
    pub fn requests(&self, flow: Flow) {
        self.orders.send_modify(|orders| orders.requests = flow);
    }

    /// What happens to what the server sends, on all connections from now on.
    pub fn replies(&self, flow: Flow) {
        self.orders.send_modify(|orders| orders.replies = flow);
    }

    /// Whether new connections are reset at once.
    pub fn refuse(&self, refuse: bool) {
        self.orders.send_modify(|orders| orders.refuse = refuse);
    }

    /// Resets all connections (RST, not an orderly end).
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Waits until so many bytes more than now have been dropped. Ask before they can be:
    /// what was dropped before the call does not count.
    pub fn next_dropped(&self, bytes: u64) -> impl Future<Output = ()> + Send + 'static {
        let mut dropped = self.dropped.subscribe();
        let wanted = *dropped.borrow_and_update() + bytes;
        async move {
            // An error would mean that the proxy is gone, and then nobody waits.
            drop(dropped.wait_for(|dropped| *dropped >= wanted).await);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, orders: watch::Sender<Orders>, dropped: watch::Sender<u64>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let connection = orders.subscribe();
        let dropped = dropped.clone();
        tokio::spawn(async move {
            drop(client.set_zero_linger());
            if connection.borrow().refuse {
                return;
            }
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            for stream in [&client, &server] {
                drop(stream.set_nodelay(true));
            }
            drop(server.set_zero_linger());
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let requests = Direction { orders: connection.clone(), dropped: dropped.clone(), flow: |orders| orders.requests };
            let replies = Direction { orders: connection, dropped, flow: |orders| orders.replies };
            // Both sockets go at once, with nothing lingering, which resets them.
            tokio::select! {
                () = requests.carry(from_client, to_server) => {}
                () = replies.carry(from_server, to_client) => {}
            }
        });
    }
}

struct Direction {
    orders: watch::Receiver<Orders>,
    dropped: watch::Sender<u64>,
    flow: fn(&Orders) -> Flow,
}

impl Direction {
    /// Until either side ends or the connection is cut.
    async fn carry(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let born = self.orders.borrow().cuts;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read.unwrap_or(0),
                _ = self.orders.wait_for(|orders| orders.cuts != born) => return,
            };
            if read == 0 {
                return;
            }
            let flow = self.flow;
            let now = match self.orders.wait_for(|orders| orders.cuts != born || flow(orders) != Flow::Stall).await {
                Ok(orders) => *orders,
                Err(_) => return,
            };
            if now.cuts != born {
                return;
            }
            match flow(&now) {
                Flow::Drop => {
                    self.dropped.send_modify(|dropped| *dropped += read as u64);
                    continue;
                }
                Flow::Delay(time) => {
                    tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        _ = self.orders.wait_for(|orders| orders.cuts != born) => return,
                    }
                }
                Flow::Pass | Flow::Stall => {}
            }
            tokio::select! {
                written = to.write_all(&buffer[..read]) => if written.is_err() { return },
                _ = self.orders.wait_for(|orders| orders.cuts != born) => return,
            }
        }
    }
}
