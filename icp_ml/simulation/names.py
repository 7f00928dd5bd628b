"""Names of the simulated world: industries, regions, tools and the columns that mean nothing."""

from __future__ import annotations

INDUSTRIES = (
    "Manufacturing", "Software", "Fintech", "Retail", "Healthcare", "Logistics",
    "Media", "Construction", "Education", "Energy", "Telecom", "Hospitality",
)
BUSINESS_MODELS = ("Services", "Subscription", "Transactional", "Wholesale")
HOME_MODEL = {
    "Manufacturing": 3, "Software": 1, "Fintech": 2, "Retail": 2, "Healthcare": 0, "Logistics": 0,
    "Media": 1, "Construction": 3, "Education": 0, "Energy": 3, "Telecom": 1, "Hospitality": 0,
}
NAICS = {
    "Manufacturing": ("333120", "336390"), "Software": ("513210", "541511"), "Fintech": ("522320", "523999"),
    "Retail": ("455110", "456110"), "Healthcare": ("621111", "622110"), "Logistics": ("484121", "488510"),
    "Media": ("512110", "516120"), "Construction": ("236220", "238210"), "Education": ("611310", "611420"),
    "Energy": ("221111", "221210"), "Telecom": ("517111", "517112"), "Hospitality": ("721110", "722511"),
    "Mining": ("212220", "213112"), "Agriculture": ("111150", "112111"),
}
REGIONS = ("North America", "DACH", "UK & Ireland", "Nordics", "Southern Europe", "Asia Pacific")
STAGES = ("Bootstrapped", "Seed", "Series A", "Series B", "Series C", "Series D+", "Public")

STACKS: dict[str, tuple[str, ...]] = {
    "crm": ("Salesforce", "HubSpot", "Zoho CRM", "Pipedrive", "Dynamics 365", "Gong", "Outreach", "ZoomInfo",
            "Clari", "Salesloft", "Chili Piper", "Apollo"),
    "marketing": ("Marketo", "Mailchimp", "Constant Contact", "Braze", "Klaviyo", "Google Analytics", "Hotjar",
                  "Segment", "Optimizely", "6sense", "Drift", "Unbounce"),
    "erp": ("NetSuite", "Sage Intacct", "Legacy ERP", "Odoo", "SAP S/4HANA", "Workday", "Coupa", "Concur",
            "Avalara", "BlackLine", "Anaplan", "Bill.com"),
    "cloud": ("AWS", "Azure", "On-premises hosting", "Google Cloud", "DigitalOcean", "Cloudflare", "Terraform",
              "Okta", "Akamai", "Fastly", "HashiCorp Vault", "Zscaler"),
    "bi": ("Power BI", "Tableau", "Crystal Reports", "Qlik", "Looker", "Snowflake", "dbt", "Fivetran",
           "Databricks", "Airflow", "Monte Carlo", "Hex"),
    "dev": ("GitHub", "GitLab", "Subversion", "Bitbucket", "Azure DevOps", "Jira", "Datadog", "Kubernetes",
            "Sentry", "CircleCI", "LaunchDarkly", "PagerDuty"),
}
ENGINEERING = ("cloud", "bi", "dev")

# name, kind, and its size: levels, share, spread, upper end, or tail index
NULL_COLUMNS: tuple[tuple[str, str, float], ...] = (
    ("hq_state", "category", 50), ("office_rent_index", "normal", 1.0), ("listed_in_directory", "flag", 0.02),
    ("social_followers", "pareto", 1.1), ("sales_territory", "category", 30), ("iso_certified", "flag", 0.20),
    ("web_visits", "lognormal", 2.0), ("legal_form", "category", 5), ("press_mentions", "count", 1.0),
    ("runs_events", "flag", 0.10), ("fiscal_year_end", "category", 12), ("site_speed", "uniform", 100),
    ("award_winner", "flag", 0.02), ("patents", "pareto", 1.5), ("area_code", "category", 40),
    ("board_size", "count", 3.0), ("has_podcast", "flag", 0.50), ("credit_index", "normal", 12.0),
    ("auditor", "category", 8), ("domain_age_days", "uniform", 9000), ("has_mobile_app", "flag", 0.30),
    ("ad_spend", "lognormal", 1.5), ("office_type", "category", 3), ("job_posts", "count", 5.0),
)
