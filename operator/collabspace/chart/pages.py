"""What the dashboards show: overview, teams, tasks, data, platform."""

from collabspace.chart.panels import (
    DAY,
    RATE,
    TEAM,
    Page,
    Panel,
    Show,
    current,
    figure,
    in_an_hour,
    of_component,
    quantile,
    rate,
    tasks,
)

QUOTA = current("collabspace_gpu_quota", "team", TEAM)
ALLOCATED = current("collabspace_gpu_allocated", "team", TEAM)
EXPIRY = current("collabspace_grant_expiry_timestamp_seconds", "dataset, team")
OVERVIEW = Page(
    "overview",
    "Collabspace / Overview",
    (
        figure(
            "Alerts",
            'count(ALERTS{alertname=~"Collabspace.*", alertstate="firing"}) or vector(0)',
            "That fire now.",
            bad=1,
        ),
        figure("Leading operators", "sum(collabspace_leader)", "One, always.", bad=1, low=True),
        figure(
            "Brokers", 'count(collabspace_build_info{component="broker"}) or vector(0)', "That answer.", bad=1, low=True
        ),
        figure("Ledger", "min(collabspace_ledger_writable)", "1: it takes records.", bad=1, low=True),
        figure(
            "Oldest watch", "max(collabspace_watch_staleness_seconds)", "Since its last sign of life.", unit="s", bad=90
        ),
        figure(
            "Grants that end in 30 days",
            f"count({EXPIRY} - time() < {30 * DAY}) or vector(0)",
            "Page Data says which.",
            bad=1,
        ),
        figure("Tasks at work", tasks("Active"), "In all teams."),
        figure("Tasks that wait", tasks("Waiting"), "kubectl collab why TASK."),
        figure("Tasks that failed", tasks("Failed"), "Of those that are there."),
        figure("GPUs in use", "sum(max by (team) (collabspace_gpu_allocated))", "Held by tasks."),
        figure("GPUs idle", "sum(max by (team) (collabspace_gpu_idle))", "Held by tasks, and no trainer runs.", bad=1),
        figure(
            "Refused reads",
            'sum(increase(collabspace_dataset_reads_total{decision="Denied"}[1h]))',
            "In the last hour.",
            bad=30,
        ),
        Panel(
            "Tasks by state",
            f"sum by (state) ({current('collabspace_tasks', 'team, state')})",
            "All teams.",
            legend="{{state}}",
        ),
        Panel(
            "GPUs by team",
            current("collabspace_gpu_allocated", "team"),
            "Held by tasks, with or without a trainer.",
            legend="{{team}}",
        ),
    ),
)
TEAMS = Page(
    "teams",
    "Collabspace / Teams",
    (
        Panel("Quota", QUOTA, "GPUs that each team owns.", Show.BARS, "{{team}}"),
        Panel(
            "In use",
            ALLOCATED,
            "GPUs that its tasks hold.",
            Show.BARS,
            "{{team}}",
        ),
        Panel(
            "Share of quota in use",
            f"{ALLOCATED} / ({QUOTA} > 0)",
            "1: all of it.",
            legend="{{team}}",
            unit="percentunit",
        ),
        Panel(
            "Beyond quota",
            current("collabspace_gpu_borrowed", "team", TEAM),
            "After the quota was lowered under running tasks; falls to 0 as they end.",
            legend="{{team}}",
        ),
        Panel(
            "Idle",
            current("collabspace_gpu_idle", "team", TEAM),
            "GPUs held while no trainer runs on them.",
            legend="{{team}}",
        ),
        Panel(
            "Tasks that wait",
            current("collabspace_tasks", "team", f'state="Waiting", {TEAM}'),
            "For quota, data, a grant or a person.",
            legend="{{team}}",
        ),
        Panel("Tasks", current("collabspace_tasks", "team, state", TEAM), "By state.", Show.BARS, "{{team}} {{state}}"),
        Panel(
            "Selections",
            current("collabspace_selections", "team, state", TEAM),
            "By state.",
            Show.BARS,
            "{{team}} {{state}}",
        ),
    ),
)
TASKS = Page(
    "tasks",
    "Collabspace / Tasks",
    (
        Panel(
            "Wait until the Job, median",
            quantile(0.5, "collabspace_admission_wait_seconds"),
            "From the task's creation.",
            unit="s",
        ),
        Panel(
            "Wait until the Job, 95 %",
            quantile(0.95, "collabspace_admission_wait_seconds"),
            "From the task's creation.",
            unit="s",
        ),
        Panel(
            "Verdicts",
            rate("collabspace_admission_decisions_total", "reason"),
            "New verdicts of admission, per second.",
            legend="{{reason}}",
        ),
        Panel(
            "Attempts that ended",
            f"topk(8, {in_an_hour('collabspace_attempts_total', 'outcome')})",
            "In an hour, the most frequent outcomes; docs/reference/reasons.md says what each means.",
            legend="{{outcome}}",
        ),
        Panel(
            "Progress",
            current("collabspace_task_progress_ratio", "team, task", TEAM),
            "Of active tasks.",
            Show.BARS,
            "{{team}}/{{task}}",
            "percentunit",
        ),
        Panel(
            "Since the last progress",
            f"time() - {current('collabspace_task_progress_timestamp_seconds', 'team, task', TEAM)}",
            "Of active tasks; 0 right after a step.",
            Show.BARS,
            "{{team}}/{{task}}",
            "s",
            bad=3600,
        ),
        Panel(
            "Best score of selections",
            current("collabspace_selection_best_score", "team, selection, metric", TEAM),
            "On the validation split.",
            Show.BARS,
            "{{team}}/{{selection}} {{metric}}",
        ),
        Panel(
            "Trials",
            in_an_hour("collabspace_selection_trials_total", "team", TEAM),
            "Tasks made for selections in an hour.",
            legend="{{team}}",
        ),
    ),
)
DATA = Page(
    "data",
    "Collabspace / Data",
    (
        Panel(
            "Reads",
            in_an_hour("collabspace_dataset_reads_total", "dataset, team", f'decision="Allowed", {TEAM}'),
            "Access sessions opened in an hour, by dataset and reader.",
            legend="{{dataset}} by {{team}}",
        ),
        Panel(
            "Refused",
            in_an_hour("collabspace_dataset_reads_total", "dataset, team", f'decision="Denied", {TEAM}'),
            "In an hour; kubectl collab ledger list says why.",
            legend="{{dataset}} by {{team}}",
        ),
        Panel(
            "Bytes sent",
            rate("collabspace_dataset_bytes_total", "dataset, team", f'direction="sent", {TEAM}'),
            "By the broker itself; links into the store are not seen.",
            legend="{{dataset}} to {{team}}",
            unit="Bps",
        ),
        Panel(
            "Bytes received",
            rate("collabspace_dataset_bytes_total", "team", f'direction="received", {TEAM}'),
            "Datasets pushed, results and checkpoints stored.",
            legend="{{team}}",
            unit="Bps",
        ),
        Panel(
            "Grants that end",
            f"{current('collabspace_grant_expiry_timestamp_seconds', 'dataset, team', TEAM)} - time()",
            "The soonest; grants without an end are not here.",
            Show.BARS,
            "{{dataset}} to {{team}}",
            "s",
            bad=3 * DAY,
            low_is_bad=True,
        ),
        Panel(
            "Ledger records",
            rate("collabspace_ledger_records_total", "event"),
            "Per second.",
            legend="{{event}}",
        ),
        Panel(
            "Open sessions",
            "sum(collabspace_broker_sessions)",
            "Reads that are under way, or may go on.",
        ),
        Panel(
            "Decision, 95 %",
            quantile(0.95, "collabspace_broker_decision_seconds"),
            "From a request to the decision on disk.",
            unit="s",
        ),
        Panel(
            "Streams cut",
            in_an_hour("collabspace_broker_streams_cut_total", "reason"),
            "By the broker, since the decision no longer held.",
            legend="{{reason}}",
        ),
        Panel(
            "Store checks that hold",
            "min by (check) (collabspace_store_enforcement_proven)",
            "S3 only: what the store was seen to refuse.",
            Show.BARS,
            "{{check}}",
            bad=1,
            low_is_bad=True,
        ),
    ),
)
PLATFORM = Page(
    "platform",
    "Collabspace / Platform",
    (
        Panel(
            "Passes",
            rate("collabspace_reconcile_duration_seconds_count", "kind, result"),
            "Per second.",
            legend="{{kind}} {{result}}",
        ),
        Panel(
            "Pass, 95 %",
            quantile(0.95, "collabspace_reconcile_duration_seconds", "kind"),
            "By kind.",
            legend="{{kind}}",
            unit="s",
        ),
        Panel(
            "Admission pass, 95 %",
            quantile(0.95, "collabspace_admission_pass_seconds"),
            "Over all waiting tasks.",
            unit="s",
        ),
        Panel("Queue", "max(collabspace_queue_depth)", "Keys that wait for a worker."),
        Panel(
            "Requests to the API server",
            rate("collabspace_api_requests_total", "verb, code"),
            "Of the operator, per second; code 0: no answer.",
            legend="{{verb}} {{code}}",
        ),
        Panel(
            "Watches",
            current("collabspace_watch_staleness_seconds", "watch"),
            "Since the last sign of life.",
            legend="{{watch}}",
            unit="s",
        ),
        Panel("Event loop", "max(collabspace_loop_lag_seconds)", "How late it runs.", unit="s"),
        Panel(
            "Requests to the broker",
            rate("collabspace_broker_requests_total", "status", 'route!~"/livez|/readyz"'),
            "Per second.",
            legend="{{status}}",
        ),
        Panel(
            "Tokens judged",
            rate("collabspace_token_reviews_total", "outcome"),
            "By the broker, per second.",
            legend="{{outcome}}",
        ),
        Panel(
            "Sweeps",
            in_an_hour("collabspace_broker_sweeps_total", "outcome"),
            "Passes over the store in an hour.",
            legend="{{outcome}}",
        ),
        Panel(
            "Memory", of_component("process_resident_memory_bytes"), "Resident.", legend="{{component}}", unit="bytes"
        ),
        Panel("CPU", of_component(f"rate(process_cpu_seconds_total[{RATE}])"), "Cores.", legend="{{component}}"),
        Panel(
            "Feed",
            "max(collabspace_broker_connected)",
            "1: the operator reads the broker's feed.",
            Show.STAT,
            bad=1,
            low_is_bad=True,
        ),
        Panel(
            "Refused statuses",
            "sum(increase(collabspace_status_refused_total[1h])) or vector(0)",
            "In an hour; anything above 0 is a defect.",
            Show.STAT,
            bad=1,
        ),
    ),
)
PAGES = (OVERVIEW, TEAMS, TASKS, DATA, PLATFORM)
