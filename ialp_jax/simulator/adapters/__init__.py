"""Our worlds for agents that others wrote.

| agent written for                   | adapter                                                |
|-------------------------------------|--------------------------------------------------------|
| gymnax 1.0, struct observations     | none: `SessionEnvironment` is a gymnax environment     |
| gymnax 1.0, flat observations       | `flat.FlatSessions`                                    |
| gymnax 0.0.9 (rejax 0.1.3, ...)     | `flat.FiveValueSteps` around `flat.FlatSessions`       |
| gymnasium, one user                 | `gymnasium_env.SessionGym`                             |
| gymnasium, many users               | `gymnasium_env.SessionVectorEnv`                       |
| stable-baselines3                   | `stable_baselines.SessionVecEnv`                       |

Each takes an environment and its parameters, as ``ialp_jax.simulator.make`` returns them, or a
`FlatSessions` around it. The wrappers of gymnax 1.0 itself do not serve here: its FlattenObservationWrapper
takes no struct observations; its gymnasium wrappers return JAX arrays outside their own spaces, the next
session's observation for the final one, and no autoreset mode.
"""
