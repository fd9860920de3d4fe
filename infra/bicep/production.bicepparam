// A production installation: no public address but Front Door's, replicas over several zones, Redis with a replica. What
// differs between installations is in the environment, where azd keeps it; size it by the limits that you need.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param image = readEnvironmentVariable('AIRLOCK_IMAGE', '')
param alertEmail = readEnvironmentVariable('AIRLOCK_ALERT_EMAIL')
param vaultOfficerId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
param vaultAddresses = filter(split(readEnvironmentVariable('AIRLOCK_VAULT_ADDRESSES', ''), ','), address => !empty(address))
param budgetStart = readEnvironmentVariable('AIRLOCK_BUDGET_START')
param deployAzureOpenAi = bool(readEnvironmentVariable('AIRLOCK_AZURE_OPENAI', 'false'))
param useOpenAi = !bool(readEnvironmentVariable('AIRLOCK_AZURE_OPENAI', 'false'))
param customDomain = readEnvironmentVariable('AIRLOCK_DOMAIN', '')
param callers = readEnvironmentVariable('AIRLOCK_CALLERS', 'api_key')
// A page that nobody may mint from would only fail.
param servePage = contains(readEnvironmentVariable('AIRLOCK_CALLERS', 'api_key'), 'anonymous')
param securityContact = readEnvironmentVariable('AIRLOCK_SECURITY_CONTACT', '')

param frontDoorSku = 'Premium_AzureFrontDoor'
param zoneRedundant = true
param redisSku = 'Balanced_B3'
param redisHighAvailability = true
param registrySku = 'Standard'
param relayCores = '1.0'
param relayMinReplicas = 3
param relayMaxReplicas = 7
param sessionsPerReplica = 400 // 7 times 400 stays below the 3,000 connections of one Front Door
param tokenServiceMinReplicas = 2
param tokenServiceMaxReplicas = 6
param logRetentionDays = 90
param hourlySpendUsd = 100
param monthlyBudget = 2500
