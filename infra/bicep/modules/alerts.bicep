// What wakes somebody, and what it may cost. Names of events and metrics are those of docs/telemetry.md.

@description('Name of the installation.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Application Insights to look at.')
param insightsId string

@description('Address that is told.')
param email string

@description('Whether there is anything to look at yet.')
param enabled bool

@description('US dollars of the model\'s cost in an hour that are too much.')
param hourlySpendUsd int

@description('Monthly budget of the resource group, in the subscription\'s currency.')
param monthlyBudget int

@description('First day of the budget\'s first month, YYYY-MM-01.')
param budgetStart string

// Front Door carries no more WebSockets than this at once in one profile.
var frontDoorConnections = 3000
// Severity 0 is the worst. A rule without a column counts rows.
var rules = [
  {
    name: 'replay'
    title: 'A used token came again'
    severity: 1
    window: 'PT5M'
    query: 'customEvents | where name == "redeem.replay"'
    column: ''
    above: 0
  }
  {
    name: 'upstream-auth'
    title: 'An upstream does not accept our key'
    severity: 1
    window: 'PT5M'
    query: 'customEvents | where name == "upstream.auth_failed"'
    column: ''
    above: 0
  }
  {
    name: 'refusals'
    title: 'More than a fifth as many refusals as mints, and more than 20'
    severity: 2
    window: 'PT5M'
    query: 'customMetrics | summarize refusals = sumif(value, name == "airlock_refusals_total"), mints = sumif(value, name == "airlock_mints_total") | extend percent = iff(refusals > 20, 100.0 * refusals / max_of(mints, 1.0), 0.0)'
    column: 'percent'
    above: 20
  }
  {
    name: 'redis'
    title: 'Redis does not answer'
    severity: 0
    window: 'PT5M'
    query: 'customMetrics | where name == "airlock_redis_up" | summarize down = countif(value == 0)'
    column: 'down'
    above: 0
  }
  {
    name: 'vault'
    title: 'Secrets are missing, stale or malformed'
    severity: 1
    window: 'PT5M'
    query: 'customEvents | where name in ("vault.stale", "vault.unavailable", "secret.invalid")'
    column: ''
    above: 0
  }
  {
    name: 'processes'
    title: 'A worker or its parent died, or a certificate does not fit'
    severity: 2
    window: 'PT5M'
    query: 'customEvents | where name in ("worker.replaced", "parent.gone", "certificate.invalid")'
    column: ''
    above: 0
  }
  {
    name: 'identity'
    title: 'The platform gives no access tokens'
    severity: 1
    window: 'PT15M'
    query: 'customEvents | where name == "identity.failed"'
    column: ''
    above: 0
  }
  {
    name: 'silence' // what sends telemetry needs a token too: an outage of those cannot tell of itself
    title: 'Nothing is heard of the services'
    severity: 0
    window: 'PT15M'
    query: 'customMetrics | where name == "airlock_redis_up" | summarize reports = count() | extend silent = iff(reports == 0, 1, 0)'
    column: 'silent'
    above: 0
  }
  {
    name: 'bugs'
    title: 'A bug'
    severity: 2
    window: 'PT15M'
    query: 'customEvents | where name == "internal_error"'
    column: ''
    above: 0
  }
  {
    name: 'spend'
    title: 'The model costs more in an hour than it should'
    severity: 1
    window: 'PT1H'
    query: 'customMetrics | where name == "airlock_cost_usd_total" | summarize usd = sum(value)'
    column: 'usd'
    above: hourlySpendUsd
  }
  {
    name: 'connections'
    title: 'Four fifths of the connections that Front Door carries'
    severity: 1
    window: 'PT5M'
    query: 'customMetrics | where name == "airlock_live_sessions" | summarize arg_max(timestamp, value) by bin(timestamp, 1m), cloud_RoleInstance | summarize sessions = sum(value) by timestamp'
    column: 'sessions'
    above: frontDoorConnections * 8 / 10
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${environmentName}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: take(environmentName, 12)
    emailReceivers: [{ name: 'operators', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${environmentName}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${environmentName}: ${rule.title}'
      severity: rule.severity
      enabled: enabled
      scopes: [insightsId]
      evaluationFrequency: 'PT5M'
      windowSize: rule.window
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            metricMeasureColumn: empty(rule.column) ? null : rule.column
            timeAggregation: empty(rule.column) ? 'Count' : 'Maximum'
            operator: 'GreaterThan'
            threshold: rule.above
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [people.id] }
    }
  }
]

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'budget-${environmentName}'
  properties: {
    category: 'Cost'
    amount: monthlyBudget
    timeGrain: 'Monthly'
    timePeriod: { startDate: budgetStart }
    notifications: {
      spent80: { enabled: true, operator: 'GreaterThan', threshold: 80, thresholdType: 'Actual', contactEmails: [email] }
      forecast100: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [email]
      }
    }
  }
}
