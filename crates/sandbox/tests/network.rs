//! A proxy passes bytes on as they are, and its link cuts, silences, slows and limits them.
#![expect(clippy::unwrap_used, reason = "helpers of tests outside of them")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use heliograph_sandbox::{
    network::{
        link::{Direction, Link},
        proxy::Proxy,
    },
    wait,
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough to be sure that nothing comes.
const NOTHING: Duration = Duration::from_millis(300);

/// Answers every connection with what it sends, and ends when the other side does.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 4_096];
                while let Ok(count @ 1..) = socket.read(&mut bytes) {
                    if socket.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn proxy() -> (Arc<Link>, Proxy) {
    let link = Arc::new(Link::default());
    let proxy = Proxy::start(HERE, echo(), &link).unwrap();
    (link, proxy)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(proxy.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[track_caller]
fn check_echo(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    socket.read_exact(&mut back).unwrap();
    assert_eq!(back, text.as_bytes());
}

/// Nothing comes, neither bytes nor an end.
#[track_caller]
fn check_silence(socket: &mut TcpStream) {
    socket.set_read_timeout(Some(NOTHING)).unwrap();
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[track_caller]
fn check_reset(socket: &mut TcpStream) {
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn bytes_and_ends_are_passed_on() {
    let (_link, proxy) = proxy();
    let mut socket = connect(&proxy);
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut writing = socket.try_clone().unwrap();
    let bytes = sent.clone();
    let writer = thread::spawn(move || {
        writing.write_all(&bytes).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    socket.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    let gone = wait::until(PATIENCE, || {
        Ok::<_, ()>((proxy.connections() == 0).then_some(()))
    });
    assert_eq!(gone, Ok(Some(())), "a connection that ended is kept");
}

#[test]
fn a_cut_resets_what_is_open_and_what_comes_until_it_is_healed() {
    let (link, proxy) = proxy();
    let mut socket = connect(&proxy);
    check_echo(&mut socket, "before");
    link.cut();
    check_reset(&mut socket);
    check_reset(&mut connect(&proxy));
    link.heal();
    check_echo(&mut connect(&proxy), "after");
}

#[test]
fn a_reset_lets_new_connections_through_at_once() {
    let (link, proxy) = proxy();
    let mut socket = connect(&proxy);
    check_echo(&mut socket, "before");
    link.reset();
    check_reset(&mut socket);
    check_echo(&mut connect(&proxy), "after");
}

#[test]
fn a_silent_link_takes_connections_says_nothing_and_loses_nothing() {
    let (link, proxy) = proxy();
    let mut before = connect(&proxy);
    check_echo(&mut before, "before");
    link.silence();
    before.write_all(b"held").unwrap();
    let mut during = connect(&proxy);
    during.write_all(b"back").unwrap();
    check_silence(&mut before);
    check_silence(&mut during);
    link.heal();
    for (socket, text) in [(&mut before, b"held"), (&mut during, b"back")] {
        let mut back = [0; 4];
        socket.read_exact(&mut back).unwrap();
        assert_eq!(&back, text);
    }
}

#[test]
fn one_direction_can_be_silent_alone() {
    let target = TcpListener::bind((HERE, 0)).unwrap();
    let link = Arc::new(Link::default());
    let proxy = Proxy::start(HERE, target.local_addr().unwrap(), &link).unwrap();
    let mut client = connect(&proxy);
    let (mut server, _) = target.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    link.silence_one(Direction::Back);
    client.write_all(b"out").unwrap();
    server.write_all(b"back").unwrap();
    server.read_exact(&mut [0; 3]).unwrap();
    check_silence(&mut client);
    link.heal();
    client.read_exact(&mut [0; 4]).unwrap();
}

#[test]
fn a_slow_link_delays_both_ways_without_holding_up_what_follows() {
    let (link, proxy) = proxy();
    let mut socket = connect(&proxy);
    check_echo(&mut socket, "before");
    let delay = Duration::from_millis(150);
    link.slow(delay, Duration::from_millis(20));
    let start = Instant::now();
    for n in 0..10_u8 {
        socket.write_all(&[n]).unwrap();
    }
    let mut back = [0; 10];
    socket.read_exact(&mut back).unwrap();
    let took = start.elapsed();
    assert_eq!(back, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(took >= delay * 2, "{took:?}");
}

#[test]
fn a_limited_link_takes_its_time() {
    let (link, proxy) = proxy();
    let mut socket = connect(&proxy);
    link.limit(200_000);
    let start = Instant::now();
    let mut writing = socket.try_clone().unwrap();
    let writer = thread::spawn(move || writing.write_all(&[7; 100_000]).unwrap());
    socket.read_exact(&mut [0; 100_000]).unwrap();
    writer.join().unwrap();
    let took = start.elapsed();
    // The last chunk of 16 KiB has no wait behind it.
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn a_target_that_is_gone_is_a_reset() {
    let target = TcpListener::bind((HERE, 0)).unwrap();
    let address = target.local_addr().unwrap();
    drop(target);
    let proxy = Proxy::start(HERE, address, &Arc::default()).unwrap();
    check_reset(&mut connect(&proxy));
}

#[test]
fn connections_go_over_links_by_who_connects() {
    let link = Arc::new(Link::default());
    let chosen = Arc::clone(&link);
    let choose = move |from: SocketAddr, _to| from.ip().is_ipv4().then(|| Arc::clone(&chosen));
    let proxy = Proxy::at((HERE, 0).into(), echo(), choose).unwrap();
    check_echo(&mut connect(&proxy), "chosen");
    let refusing = Proxy::at((HERE, 0).into(), echo(), |_, _| None).unwrap();
    check_reset(&mut connect(&refusing));
}

#[test]
fn dropping_a_proxy_ends_its_connections_silent_ones_too() {
    let (link, proxy) = proxy();
    let mut socket = connect(&proxy);
    check_echo(&mut socket, "before");
    link.silence();
    drop(proxy);
    check_reset(&mut socket);
}
