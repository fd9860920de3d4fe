// A small installation for trying it out and for light use: one replica of each, Redis without a replica, and the cheaper
// Front Door, which has neither Private Link nor managed firewall rules. What differs between installations is in the
// environment, where azd keeps it.
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
param callers = readEnvironmentVariable('AIRLOCK_CALLERS', 'anonymous,api_key')
param securityContact = readEnvironmentVariable('AIRLOCK_SECURITY_CONTACT', '')

param frontDoorSku = 'Standard_AzureFrontDoor'
param zoneRedundant = false
param redisSku = 'Balanced_B0'
param redisHighAvailability = false
param registrySku = 'Basic'
param relayCores = '0.5'
param relayMinReplicas = 1
param relayMaxReplicas = 2
param sessionsPerReplica = 100
param tokenServiceMinReplicas = 1
param tokenServiceMaxReplicas = 2
param logDailyGigabytes = 1
param hourlySpendUsd = 10
param monthlyBudget = 200
