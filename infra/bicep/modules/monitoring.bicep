// Where logs, numbers and events go: one workspace, and Application Insights on it, which takes nothing without a token.

@description('Name of the installation.')
param environmentName string

@description('Unique text of the installation, for names that the whole world shares.')
param token string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Days that everything is kept.')
param retentionDays int

@description('Gigabytes a day above which no more is taken; -1: no limit.')
param dailyGigabytes int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: 'log-${environmentName}-${token}'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    features: { disableLocalAuth: true, enableLogAccessUsingOnlyResourcePermissions: true }
    workspaceCapping: { dailyQuotaGb: dailyGigabytes }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: workspace
  name: 'to-workspace'
  properties: { workspaceId: workspace.id, logs: [{ categoryGroup: 'audit', enabled: true }] }
}

// It has no diagnostic setting: what it is sent is in the workspace already, and would be paid for twice.
resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${environmentName}-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
    DisableIpMasking: false
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Airlock ${environmentName}'
    category: 'workbook'
    sourceId: insights.id
    serializedData: string(loadJsonContent('workbook.json'))
  }
}

@description('Id of the workspace.')
output workspaceId string = workspace.id

@description('Id of Application Insights.')
output insightsId string = insights.id

@description('Name of Application Insights.')
output insightsName string = insights.name
