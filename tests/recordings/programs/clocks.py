"""The true mean SM clock under load, from clock64 and globaltimer in a spinning block, beside what NVML says."""
import sys, time, json, torch
out=open(sys.argv[1],"w"); d="cuda"; N=8192; F=2*N**3; S=3.0
import cupy as cp
spin=cp.RawKernel(r'''extern "C" __global__ void spin(long long ns,long long*o){ long long g0,g,c0=clock64(); asm volatile("mov.u64 %0, %%globaltimer;":"=l"(g0)); do{ __nanosleep(2000); asm volatile("mov.u64 %0, %%globaltimer;":"=l"(g)); }while(g-g0<ns); o[0]=clock64()-c0; o[1]=g-g0; }''','spin')
def run(label,bits,f,flop,sec=S):
    try:
        for _ in range(3): f()
        torch.cuda.synchronize(); time.sleep(.8)
        o=cp.zeros(2,dtype=cp.int64); s=cp.cuda.Stream(non_blocking=True)
        t0=time.monotonic_ns(); c=0
        with s: spin((1,),(1,),(cp.int64(int((sec-.2)*1e9)),o))
        while time.monotonic_ns()-t0<sec*1e9:
            for _ in range(16): f()
            c+=16; torch.cuda.current_stream().synchronize()
        torch.cuda.synchronize(); s.synchronize(); t1=time.monotonic_ns(); h=o.get()
        r=dict(label=label,format=str(bits),start=t0,end=t1,flop=c*flop,tflops=c*flop/(t1-t0)/1e3,true_mhz=float(h[0])/float(h[1])*1e3)
    except Exception as x: r=dict(label=label,error=repr(x)[:300])
    out.write(json.dumps(r)+"\n"); out.flush(); print(r,flush=True)
def mm(dt,zero=False):
    mk=torch.zeros if zero else torch.randn
    a=mk(N,N,device=d,dtype=torch.float32).to(dt); b=mk(N,N,device=d,dtype=torch.float32).to(dt); o=torch.empty(N,N,device=d,dtype=dt)
    return lambda: torch.mm(a,b,out=o)
torch.backends.cuda.matmul.allow_tf32=True
run("clk-bf16",16,mm(torch.bfloat16),F); run("clk-bf16-zeros",16,mm(torch.bfloat16,True),F); run("clk-tf32",32,mm(torch.float32),F)
one=torch.ones((),device=d)
def fp8():
    a=torch.randn(N,N,device=d).to(torch.float8_e4m3fn); b=torch.randn(N,N,device=d).to(torch.float8_e4m3fn).t()
    return lambda: torch._scaled_mm(a,b,scale_a=one,scale_b=one,out_dtype=torch.bfloat16,use_fast_accum=True)
try: run("clk-fp8",8,fp8(),F)
except Exception as x: print(x)
