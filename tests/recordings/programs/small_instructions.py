"""Writes yield_NN.cu: instructions of the smaller kinds, each with the operations it issues and the true clock."""
K=[];L=[]
PRE='long long c0=clock64(); long long g0; asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(g0));'
POST='if(blockIdx.x==0&&threadIdx.x==0){ long long g1; asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(g1)); clk[0]=clock64()-c0; clk[1]=g1-g0; }'
def wg(name,typ,kk,bits,n,tail,acc="float",blocks=2):
    regs=n//2; c='"+%s"'%("f" if acc=="float" else "r")
    d=", ".join("%%%d"%i for i in range(regs))
    asm='wgmma.mma_async.sync.aligned.m64n%dk%d.%s {%s}, %%%d, %%%d, p%s;'%(n,kk,typ,d,regs,regs+1,tail)
    outs=", ".join("%s(c[%d])"%(c,i) for i in range(regs))
    K.append('''__global__ __launch_bounds__(128,%d) void %s(int n, int* out, long long* clk){ %s
 extern __shared__ __align__(1024) unsigned char s[]; for(int i=threadIdx.x;i<6144;i+=128) ((int*)s)[i]=0; __syncthreads();
 asm volatile("fence.proxy.async;");
 %s c[%d]; for(int i=0;i<%d;i++) c[i]=0;
 unsigned a=(unsigned)__cvta_generic_to_shared(s); unsigned long long da=((a>>4)&0x3fff)|(8ull<<16)|(16ull<<32), db=(((a+8192)>>4)&0x3fff)|(8ull<<16)|(16ull<<32);
 for(int i=0;i<n;i++){
  asm volatile("wgmma.fence.sync.aligned;":::"memory");
  #pragma unroll
  for(int j=0;j<4;j++) asm volatile("{.reg .pred p; setp.ne.b32 p, %%%d, 0; %s}" : %s : "l"(da),"l"(db),"r"(1));
  asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;":::"memory");
 }
 %s t=0; for(int i=0;i<%d;i++) t+=c[i]; if(t==12345) out[0]=1; %s }'''%(blocks,name,PRE,acc,regs,regs,regs+2,asm,outs,acc,regs,POST))
    L.append('{"%s",%d,%s,132*%d,128,24576,2.0*64*%d*%d*4}'%(name,bits,name,blocks,n,kk))
wg("wgmma_bf16_n256","f32.bf16.bf16",16,16,256,", 1, 1, 0, 0")
for n in (8,16,32,64,128): wg("wgmma_bf16_n%d"%n,"f32.bf16.bf16",16,16,n,", 1, 1, 0, 0",blocks=4)
wg("wgmma_fp8_n16","f32.e4m3.e4m3",32,8,16,", 1, 1",blocks=4)
wg("wgmma_int8_n8","s32.s8.s8",32,8,8,"",acc="int",blocks=4)
wg("wgmma_tf32_n8","f32.tf32.tf32",8,32,8,", 1, 1",blocks=4)
def sync(name,shape,bits,na,nb,nc,acc,mnk,warps=8,U=8):
    o=", ".join('"+%s"(c[u][%d])'%({"float":"f","int":"r"}[acc],i) for i in range(nc))
    d=",".join("%%%d"%i for i in range(nc)); A=",".join("%%%d"%(nc+i) for i in range(na)); B=",".join("%%%d"%(nc+na+i) for i in range(nb))
    ins=", ".join('"r"(a[%d])'%i for i in range(na))+", "+", ".join('"r"(b[%d])'%i for i in range(nb))
    K.append('''__global__ __launch_bounds__(%d,2) void %s(int n, int* out, long long* clk){ %s
 %s c[%d][%d]; for(int u=0;u<%d;u++) for(int i=0;i<%d;i++) c[u][i]=0; unsigned a[%d],b[%d]; for(int i=0;i<%d;i++) a[i]=n>>30; for(int i=0;i<%d;i++) b[i]=n>>30;
 for(int i=0;i<n;i++){
  #pragma unroll
  for(int u=0;u<%d;u++) asm volatile("mma.sync.aligned.%s {%s}, {%s}, {%s}, {%s};" : %s : %s);
 }
 %s t=0; for(int u=0;u<%d;u++) for(int i=0;i<%d;i++) t+=c[u][i]; if(t==12345) out[0]=1; %s }'''%(warps*32,name,PRE,acc,U,nc,U,nc,na,nb,na,nb,U,shape,d,A,B,d,o,ins,acc,U,nc,POST))
    m=1
    for x in mnk: m*=x
    L.append('{"%s",%d,%s,132*2,%d,0,2.0*%d*%d*%d}'%(name,bits,name,warps*32,m,U,warps))
sync("sync_bf16_k8","m16n8k8.row.col.f32.bf16.bf16.f32",16,2,1,4,"float",(16,8,8))
sync("sync_tf32_k4","m16n8k4.row.col.f32.tf32.tf32.f32",32,2,1,4,"float",(16,8,4))
sync("sync_int8_m8","m8n8k16.row.col.s32.s8.s8.s32",8,1,1,2,"int",(8,8,16))
sync("sync_int8_k16","m16n8k16.row.col.s32.s8.s8.s32",8,2,1,4,"int",(16,8,16))
sync("sync_int4","m16n8k64.row.col.s32.s4.s4.s32",4,4,2,4,"int",(16,8,64))
sync("sync_b1","m16n8k256.row.col.s32.b1.b1.s32.and.popc",1,4,2,4,"int",(16,8,256))
sync("sync_bf16_one_chain","m16n8k16.row.col.f32.bf16.bf16.f32",16,4,2,4,"float",(16,8,16),4,1)
for x,(kk,ll) in enumerate(zip(K,L)):
  open("yield_%02d.cu"%x,"w").write('''#include <cstdio>
#include <ctime>
'''+kk+'''
struct K{const char*name;int bits;void(*f)(int,int*,long long*);int blocks,threads,smem;double per_block;};
static long long now(){timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000ll+t.tv_nsec;}
static void nap(double s){timespec t{(time_t)s,(long)((s-(long)s)*1e9)};nanosleep(&t,0);}
int main(int argc,char**argv){ double S=argc>1?atof(argv[1]):2; int*d;cudaMalloc(&d,4); long long*c,h[2]; cudaMalloc(&c,16);
 K ks[]={'''+ll+'''};
 for(K&k:ks){ int n=2000; cudaFuncSetAttribute((const void*)k.f,cudaFuncAttributeMaxDynamicSharedMemorySize,k.smem);
  k.f<<<k.blocks,k.threads,k.smem>>>(n,d,c); cudaDeviceSynchronize(); long long a=now(); k.f<<<k.blocks,k.threads,k.smem>>>(n,d,c); cudaError_t e=cudaDeviceSynchronize(); long long one=now()-a;
  if(e){printf("{\\"label\\":\\"%s\\",\\"error\\":\\"%s\\"}\\n",k.name,cudaGetErrorString(e));fflush(stdout);return 1;}
  if(one<20000)one=20000; double f=60e6/one*n; if(f>1e9)f=1e9; n=(int)f; nap(0.6);
  long long t0=now(),calls=0; double cyc=0,ns=0; while(now()-t0<S*1e9){k.f<<<k.blocks,k.threads,k.smem>>>(n,d,c);k.f<<<k.blocks,k.threads,k.smem>>>(n,d,c);calls+=2;e=cudaDeviceSynchronize(); cudaMemcpy(h,c,16,cudaMemcpyDeviceToHost); cyc+=h[0]; ns+=h[1];}
  long long t1=now(); double ops=calls*(double)n*k.per_block*k.blocks;
  printf("{\\"label\\":\\"%s\\",\\"format\\":\\"%d\\",\\"start\\":%lld,\\"end\\":%lld,\\"flop\\":%.0f,\\"tflops\\":%.2f,\\"true_mhz\\":%.1f,\\"rc\\":%d}\\n",k.name,k.bits,t0,t1,ops,ops/(t1-t0)/1e3,cyc/ns*1e3,(int)e);fflush(stdout);}
}
''')
print(len(K))
