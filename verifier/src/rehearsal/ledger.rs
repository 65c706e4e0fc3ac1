//! A ledger that was damaged or set back.

use super::*;

#[tokio::test]
async fn a_damaged_ledger_is_not_signed_again() {
    let (mut verifier, mut node) = ready().await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
    let database = format!("sqlite://{}", verifier.config().database().display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("UPDATE tile SET hashes = zeroblob(length(hashes))")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let error = serve(verifier.config(), verifier.clock(), CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        crate::cause::with_causes(&error).contains("restore it from a backup"),
        "{error:?}"
    );
}

#[tokio::test]
async fn each_leaf_has_a_salt_of_its_own() {
    let (verifier, mut node) = ready().await;
    let (mut salts, mut previous) = (std::collections::BTreeSet::new(), None);
    // More than are drawn at once.
    for sequence in 1..=70 {
        let (bundle, digest) = node.report(node.enrolled.verifier, sequence, previous);
        salts.insert(node.receipted(&verifier, bundle, &digest).await.salt);
        previous = Some(digest);
    }
    assert_eq!(salts.len(), 70);
    assert!(!salts.contains(&[0; 16]));
}

#[tokio::test]
async fn a_database_that_was_set_back_is_not_signed_again() {
    let (mut verifier, mut node) = ready().await;
    verifier.stop().await;
    let database = verifier.config().database();
    let older = verifier.directory.path().join("older.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", database.display()))
        .await
        .unwrap();
    sqlx::query("VACUUM INTO ?")
        .bind(older.display().to_string())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    verifier.serve().await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
    // The older copy, beside the keys and the mark as they are now.
    let restored = tempfile::tempdir().unwrap();
    for file in ["ca.key", "ca.pem", "ledger.key", "checkpoint"] {
        std::fs::copy(verifier.directory.path().join(file), restored.path().join(file)).unwrap();
    }
    std::fs::copy(older, restored.path().join("verifier.db")).unwrap();
    verifier.directory = restored;
    let error = serve(verifier.config(), verifier.clock(), CancellationToken::new())
        .await
        .unwrap_err();
    let line = crate::cause::with_causes(&error);
    assert!(
        line.contains("holds 3 leaves") && line.contains("over 4"),
        "{line}"
    );
}
