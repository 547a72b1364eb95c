//! What comes through a door, when, and to whom.

use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(20);
const NOT_YET: Duration = Duration::from_millis(150);

/// Says back whatever it hears.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            open.spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    (address, tasks)
}

async fn heard(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    let read = timeout(SOON, stream.read_exact(&mut bytes)).await;
    read.expect("in time").expect("bytes");
    assert_eq!(bytes, expected);
}

async fn silent(stream: &mut TcpStream) {
    assert!(timeout(NOT_YET, stream.read_u8()).await.is_err(), "something came through");
}

#[tokio::test]
async fn what_is_held_back_arrives_when_the_weather_changes() {
    let (address, _echo) = echo().await;
    let mut net = Net::default();
    let door = net.door(Party::Etcd).await;
    door.lead(Some(address));
    let mut stream = TcpStream::connect(door.address()).await.expect("a connection");
    stream.write_all(b"one").await.expect("sent");
    heard(&mut stream, b"one").await;

    // Either direction alone is enough to hear nothing.
    for (from, to) in [(Party::Outside, Party::Etcd), (Party::Etcd, Party::Outside)] {
        net.change(from, to, |weather| weather.stalled = true);
        stream.write_all(b"two").await.expect("sent");
        silent(&mut stream).await;
        net.heal();
        heard(&mut stream, b"two").await;
    }

    // New connections are held back as well.
    net.cut(Party::Outside, Party::Etcd);
    let mut late = TcpStream::connect(door.address()).await.expect("a connection");
    late.write_all(b"late").await.expect("sent");
    silent(&mut late).await;
    net.heal();
    heard(&mut late, b"late").await;

    // Others' weather is not ours.
    net.cut(Party::Broker(1), Party::Etcd);
    stream.write_all(b"three").await.expect("sent");
    heard(&mut stream, b"three").await;

    net.change(Party::Outside, Party::Etcd, |weather| {
        (weather.single, weather.delay, weather.rate) = (true, Duration::from_millis(1), 100_000);
    });
    stream.write_all(&[7; 3_000]).await.expect("sent");
    heard(&mut stream, &[7; 3_000]).await;
}

#[tokio::test]
async fn connections_are_broken_off() {
    let (address, _echo) = echo().await;
    let mut net = Net::default();
    let door = net.door(Party::Etcd).await;
    door.lead(Some(address));
    let mut stream = TcpStream::connect(door.address()).await.expect("a connection");
    stream.write_all(b"one").await.expect("sent");
    heard(&mut stream, b"one").await;
    net.reset(Party::Outside, Party::Etcd);
    let ended = timeout(SOON, stream.read_u8()).await.expect("in time");
    assert!(ended.is_err(), "it goes on");

    door.lead(None);
    let mut stream = TcpStream::connect(door.address()).await.expect("a connection");
    let ended = timeout(SOON, stream.read_u8()).await.expect("in time");
    assert!(ended.is_err(), "somebody is there");
}

#[tokio::test]
async fn callers_are_recognised() {
    let (address, _echo) = echo().await;
    let mut net = Net::default();
    let door = net.door(Party::Etcd).await;
    door.lead(Some(address));
    net.know(std::process::id(), Party::Broker(3));
    net.cut(Party::Broker(3), Party::Etcd);
    let mut stream = TcpStream::connect(door.address()).await.expect("a connection");
    stream.write_all(b"one").await.expect("sent");
    silent(&mut stream).await;
    net.heal();
    heard(&mut stream, b"one").await;
}
