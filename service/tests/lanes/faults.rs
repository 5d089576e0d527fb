use super::{
    busy, number, one_lane, queue, request,
    support::{client, fill, locks::connect},
};
use keypool_service::{pool::PoolError, store::StoreError, testing::server::TestServer};

#[tokio::test]
async fn one_poisoned_call_does_not_fail_its_neighbours() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    for user in ["alice", "mallory"] {
        fill(&mut client, user, "phone", 1).await;
    }
    fill(&mut client, "bob", "phone", 20).await;
    let database = connect(&server.database().config()).await;
    database
        .batch_execute(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'poison'; END $$;
             CREATE TRIGGER poison BEFORE UPDATE ON one_time
             FOR EACH ROW WHEN (new.user_id = 'mallory') EXECUTE FUNCTION poison()",
        )
        .await
        .unwrap();
    let (blocked, first, _) = busy(&server).await;
    let mut neighbours = Vec::new();
    let mut poisoned = None;
    for n in 0..20 {
        neighbours.push(queue(&server, request(&format!("r{n}"), &["bob"])).await);
        if n == 7 {
            poisoned = Some(queue(&server, request("poisoned", &["mallory"])).await);
        }
    }
    blocked.end().await;
    first.await.unwrap().unwrap();
    for call in neighbours {
        call.await.unwrap().unwrap();
    }
    let error = poisoned.unwrap().await.unwrap().unwrap_err();
    assert!(matches!(error, PoolError::Store(StoreError::Internal(_))), "{error:?}");
    let held = "SELECT count(*) FROM one_time WHERE user_id = 'bob' AND reservation_id IS NOT NULL";
    assert_eq!(number(&server, held).await, 20, "one package for each, however often it was tried");
}

#[tokio::test]
async fn a_batch_whose_connection_breaks_is_run_again() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 5).await;
    let (blocked, first, backend) = busy(&server).await;
    let mut waiting = Vec::new();
    for n in 0..5 {
        waiting.push(queue(&server, request(&format!("r{n}"), &["bob"])).await);
    }
    blocked.0.query_one("SELECT pg_terminate_backend($1)", &[&backend]).await.unwrap();
    blocked.end().await;
    first.await.unwrap().unwrap();
    for call in waiting {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_lane_serves_again_after_its_connection_broke_while_it_was_idle() {
    let server = TestServer::start_with(one_lane).await;
    fill(&mut client(&server).await, "bob", "phone", 2).await;
    server.server().pool().reserve(request("one", &["bob"])).await.unwrap();
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(number(&server, others).await > 0);
    server.server().pool().reserve(request("two", &["bob"])).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_done_before_the_service_stops() {
    let server = TestServer::start_with(|config| {
        one_lane(config);
        config.drain_timeout = jiff::SignedDuration::from_secs(60);
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 5).await;
    drop(client);
    let replica = server.replica().await;
    let (blocked, first, _) = busy(&server).await;
    let mut waiting = Vec::new();
    for n in 0..5 {
        waiting.push(queue(&server, request(&format!("r{n}"), &["bob"])).await);
    }
    let pool = server.server().pool().clone();
    let stopping = tokio::spawn(server.stop());
    super::support::calls::eventually("calls are refused", async || {
        let refused = pool.reserve(request("late", &["bob"]));
        let refused = tokio::time::timeout(std::time::Duration::from_millis(20), refused).await;
        matches!(refused, Ok(Err(PoolError::ShuttingDown)))
    })
    .await;
    blocked.end().await;
    first.await.unwrap().unwrap();
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    stopping.await.unwrap();
    replica.stop().await;
}
