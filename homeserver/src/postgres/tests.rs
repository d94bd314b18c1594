use super::*;

#[test]
fn second_lock_on_a_data_directory_names_the_holder() {
    let data_dir = std::env::temp_dir().join(format!("kith-lock-{}", std::process::id()));
    let held = ClusterLock::take(&data_dir).unwrap();

    let error = ClusterLock::take(&data_dir).unwrap_err();

    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(held);
    assert!(ClusterLock::take(&data_dir).is_ok());
    std::fs::remove_dir_all(&data_dir).unwrap();
}
